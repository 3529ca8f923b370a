//go:build !router

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestTheDemoShowsNothingWrong(t *testing.T) {
	cmd := exec.Command(self(t), "demo")
	cmd.Env = append(os.Environ(), asFairlead+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	for _, want := range []string{"(fake)", "saw 203.0.113.80 (the node)", "NODE ", "DIRECT ", " 0 not as they should be"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not print %q:\n%s", want, out)
		}
	}
}
