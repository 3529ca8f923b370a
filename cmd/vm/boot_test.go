package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pretended is a machine whose emulator is a line of shell.
func pretended(script string) machine {
	return machine{name: "pretended", qemu: []string{"sh", "-c", script}, console: "ttyS0"}
}

func TestAMachinePassesOnlyIfItSaysSo(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"one that passes", "echo 'vm: BEGAN'; echo 'vm: PASSED: 5 commands'", ""},
		{"one that says nothing", "echo started", "did not come to the first process"},
		{"one that says nothing more", "echo '[1.0] vm: BEGAN'", "not all passed"},
		{"one that fails", "echo 'vm: BEGAN'; echo 'vm: FAILED: 1 of 5 commands'", "not all passed"},
		{"one that says it in the middle of a line", "echo 'vm: BEGAN'; echo 'the test vm: PASSED'", "not all passed"},
		{"one that ends too soon", "echo 'vm: BEGAN'; echo 'vm: PASSED: 5 commands'; exit 3", "exit status 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := pretended(tt.script).boot(t.Context(), "kernel", "initrd", time.Minute)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("boot = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOnlyAMachineThatDidNotBootIsStartedAgain(t *testing.T) {
	for _, tt := range []struct {
		name, first string
		want        int // how often it is started
		passes      bool
	}{
		{"it did not boot", "echo panic", 2, true},
		{"its tests failed", "echo 'vm: BEGAN'; echo 'vm: FAILED: 1 of 5 commands'", 1, false},
		{"its tests ended it", "echo 'vm: BEGAN'; exit 3", 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			starts := filepath.Join(t.TempDir(), "starts")
			m := pretended("echo >> " + starts + "; if [ $(wc -l < " + starts + ") = 1 ]; then " + tt.first + "; else echo 'vm: BEGAN'; echo 'vm: PASSED'; fi")
			err := m.bootAgain(t.Context(), "kernel", "initrd", time.Minute)
			text, _ := os.ReadFile(starts)
			if len(text) != tt.want || (err == nil) != tt.passes {
				t.Errorf("it was started %d times and gave %v, want %d times and passing %t", len(text), err, tt.want, tt.passes)
			}
		})
	}
}

func TestAMachineThatHangsIsKilledAndFails(t *testing.T) {
	err := pretended("echo 'vm: PASSED: 5 commands'; exec sleep 600").boot(t.Context(), "kernel", "initrd", 100*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("boot = %v, want that it was killed", err)
	}
}

func TestAMachineThatIsUnknownIsRefused(t *testing.T) {
	if _, err := chosen("mipsel,vax"); err == nil || !strings.Contains(err.Error(), `"vax"`) {
		t.Errorf("chosen = %v, want it to name vax", err)
	}
}
