//go:build vm

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// idleMemory is what the daemon may take before anybody uses it, in KiB.
const idleMemory = 15 << 10

// It holds for what is built for routers, which only virtual machines bring.
func TestAnIdleDaemonFitsARoutersMemory(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	until(t, patience, fmt.Sprintf("the daemon to take %d KiB at most", idleMemory), func() bool {
		return memoryOf(t, h.daemon.Pid())["VmRSS"] <= idleMemory
	})
	took := memoryOf(t, h.daemon.Pid())
	fmt.Printf("an idle daemon takes %d KiB, of which %d are its own and the rest its file's\n", took["VmRSS"], took["RssAnon"])
}

// memoryOf reads how much a process takes (proc(5)), in KiB.
func memoryOf(t *testing.T, pid int) map[string]int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sizes := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var size int
		if n, _ := fmt.Sscanf(value, "%d kB", &size); n == 1 {
			sizes[name] = size
		}
	}
	return sizes
}
