package route

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// changes runs Watch in a namespace for the test, and gives what it hears once
// it listens.
func changes(t *testing.T, netns int) <-chan Change {
	t.Helper()
	heard := make(chan Change, 4096)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Setns(netns, unix.CLONE_NEWNET)
		if err == nil {
			err = Watch(ctx, func(c Change) { heard <- c })
		}
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch = %v, want nil after its context ended", err)
		}
	})
	select {
	case <-heard: // the call at its start
	case err := <-ended:
		t.Fatalf("Watch = %v before anything happened", err)
	}
	return heard
}

// hearing gives what is heard of a deed. A link that comes up afterwards is the
// last thing to be heard.
func hearing(t *testing.T, heard <-chan Change, deed func()) (all []Change) {
	t.Helper()
	deed()
	ip(t, "link add end type bridge")
	defer ip(t, "link del end")
	for deadline := time.After(10 * time.Second); ; {
		select {
		case c := <-heard:
			if c == (Change{}) {
				return all
			}
			all = append(all, c)
		case <-deadline:
			t.Fatal("the watcher heard nothing")
		}
	}
}

func TestDeletionsOfOursAreHeardWithWhoDidIt(t *testing.T) {
	netns := enter(t)
	apply(t, config())
	for _, deed := range []string{
		"rule del priority 900", "-6 rule del priority 899", "route del local default dev lo table 1000",
		"-6 route del unreachable 2001:2::/64",
	} {
		heard := changes(t, netns)
		all := hearing(t, heard, func() { ip(t, deed) })
		if len(all) != 1 || all[0].By == 0 || all[0].By == uint32(os.Getpid()) {
			t.Errorf("of ip %s %+v is heard, want one deletion and who did it", deed, all)
		}
		if added, err := Apply(config()); err != nil || added != 1 {
			t.Errorf("after ip %s Apply adds %d (%v), want 1", deed, added, err)
		}
	}
}

func TestNothingIsHeardOfOthersRoutesAndOfWhatIsThereAlready(t *testing.T) {
	netns := enter(t)
	apply(t, config())
	for what, deed := range map[string]func(){
		"adding what is there": func() { apply(t, config()) },
		"others' routes": func() {
			for i := range 20 {
				ip(t, fmt.Sprintf("route add unreachable 10.0.%d.0/24", i))
				ip(t, fmt.Sprintf("route del unreachable 10.0.%d.0/24", i))
			}
		},
		"others' rules": func() {
			ip(t, "rule add priority 77 lookup main")
			ip(t, "rule del priority 77")
		},
	} {
		if all := hearing(t, changes(t, netns), deed); len(all) != 0 {
			t.Errorf("of %s %+v is heard, want nothing", what, all)
		}
	}
}
