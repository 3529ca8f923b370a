package fakeip

import (
	"bufio"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain is also the program of the child that TestNamesSurviveKill kills.
func TestMain(m *testing.M) {
	if path := os.Getenv("FAKEIP_TEST_CHILD"); path != "" {
		assignUntilKilled(path)
	}
	os.Exit(m.Run())
}

// assignUntilKilled reports every name as soon as it is assigned. It has few
// enough slots to reuse them and to write the journal anew all the time.
func assignUntilKilled(path string) {
	p, err := Open(Config{Prefix4: netip.MustParsePrefix("198.18.0.0/24"), Journal: path, Keep: time.Second, Now: hurried()})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		name := fmt.Sprintf("host%d.%s.example", i, strings.Repeat("x", 100))
		if s, _, ok := p.Assign(name); ok {
			fmt.Println(s, name)
		}
	}
}

func TestNamesSurviveKill(t *testing.T) {
	for round := range 5 {
		path := filepath.Join(t.TempDir(), "journal")
		// What emulates this machine's processor must emulate the child's, too.
		program := append(strings.Fields(os.Getenv("EMULATOR")), os.Args[0])
		child := exec.Command(program[0], program[1:]...)
		child.Env = append(os.Environ(), "FAKEIP_TEST_CHILD="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		reported := map[Slot]string{}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 1500+400*round {
				child.Process.Kill()
			}
			var s Slot
			var name string
			// The last line may be cut off.
			if got, _ := fmt.Sscan(lines.Text(), &s, &name); got == 2 && strings.HasSuffix(name, ".example") {
				reported[s] = name
			}
		}
		child.Wait()
		if len(reported) < 200 {
			t.Fatalf("the child reported only %d slots", len(reported))
		}

		p := mustOpen(t, Config{Prefix4: netip.MustParsePrefix("198.18.0.0/24"), Journal: path})
		restored := maps.Collect(p.All())
		newer := 0
		for s, name := range reported {
			if restored[s] != name {
				newer++
			}
		}
		// One assignment may have been recorded and not yet reported.
		if newer > 1 {
			t.Errorf("%d slots have another name than was reported last", newer)
		}
		mustClose(t, p)
	}
}
