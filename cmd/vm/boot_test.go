package main

import (
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
		{"one that passes", "echo; echo 'vm: PASSED: 5 commands'", ""},
		{"one that says nothing", "echo started", "not all passed"},
		{"one that fails", "echo 'vm: FAILED: 1 of 5 commands'", "not all passed"},
		{"one that says it in the middle of a line", "echo 'the test vm: PASSED'", "not all passed"},
		{"one that ends too soon", "echo 'vm: PASSED: 5 commands'; exit 3", "exit status 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := pretended(tt.script).boot(t.Context(), "kernel", "initrd", time.Minute)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("boot = %v, want %q", err, tt.want)
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
