package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// A daemon that may have few descriptors keeps some of them for answers, does
// not spin, and recovers.
func TestFlowsDoNotTakeTheDescriptorsThatAnswersNeed(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{}))
	h.startPrepared(t, preparation{Files: 128})
	laptop, tv := h.laptopAndTV()
	known := h.address(t, laptop, "known.domestic.example", families[0])

	hog := open(t, tv.NS, unix.SOCK_STREAM, 300)
	connecting, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	hog.connect(connecting, len(hog), at(h.At.Foreign.V4, 443))
	until(t, patience, "the refusal of connections", func() bool { return hog.alive() < len(hog)/2 })

	before, began := h.cpu(t), time.Now()
	for i := range 100 {
		h.address(t, laptop, fmt.Sprintf("n%d.foreign.example", i), families[0])
		if got := h.address(t, laptop, "known.domestic.example", families[0]); got != known {
			t.Fatalf("the cached answer = %s, want %s", got, known)
		}
		h.address(t, laptop, fmt.Sprintf("n%d.domestic.example", i), families[0])
	}
	until(t, patience, "a second", func() bool { return time.Since(began) > time.Second })
	if used, most := h.cpu(t)-before, time.Since(began)/2; used > most {
		t.Errorf("the daemon used %v in %v, want at most %v: it spins", used, time.Since(began), most)
	}

	hog.close()
	until(t, patience, "the release of the descriptors", func() bool { return h.descriptors(t) < 50 })
	if got := h.tcpPath(t, laptop, h.address(t, laptop, "www.foreign.example", families[0])); got != byNode {
		t.Errorf("afterwards a connection goes %s, want %s", got, byNode)
	}
}

func TestAFullStateDirectoryIsAWarningAndNoMore(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{}))
	ok(t, os.MkdirAll(h.StateDir(), 0o700))
	h.startPrepared(t, preparation{Small: h.StateDir()})
	laptop, _ := h.laptopAndTV()
	for i := range 20 {
		if fake := h.address(t, laptop, fmt.Sprintf("n%d.foreign.example", i), families[0]); !isFake(fake) {
			t.Errorf("answer %d = %s, want a fake address", i, fake)
		}
	}
	if got := h.tcpPath(t, laptop, h.address(t, laptop, "n0.foreign.example", families[0])); got != byNode {
		t.Errorf("a connection goes %s, want %s", got, byNode)
	}
	const warning = "fake addresses are not recorded"
	if got := strings.Count(h.daemon.Log(), warning); got != 1 {
		t.Errorf("the log says %d times that %s, want once", got, warning)
	}
	h.rewrite(t, lab.Config{}) // still possible
	ok(t, h.daemon.Signal(unix.SIGTERM))
	code, err := h.daemon.Wait(h.ctx())
	if err != nil || code != 0 {
		t.Errorf("stopped with %d, %v; want 0", code, err)
	}
}

// What cannot be read of the journal is left out, and said.
func TestADamagedJournalCostsOnlyWhatIsDamaged(t *testing.T) {
	for name, damage := range map[string]func(journal []byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)-3] },
		"flipped": func(b []byte) []byte { b[len(b)-8] ^= 0x40; return b },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, lab.Options{}, lab.Config{})
			laptop, _ := h.laptopAndTV()
			kept := h.address(t, laptop, "kept.foreign.example", families[0])
			h.address(t, laptop, "lost.foreign.example", families[0])
			ok(t, h.daemon.Kill())
			journal := filepath.Join(h.StateDir(), "fakeip")
			b, err := os.ReadFile(journal)
			ok(t, err)
			if !bytes.Contains(b, []byte("lost.foreign.example")) {
				t.Fatalf("the journal does not hold what was assigned last: %q", b)
			}
			ok(t, os.WriteFile(journal, damage(b), 0o600))

			h.start()
			ok(t, h.daemon.WaitLog(h.ctx(), "fake address journal was damaged"))
			if got := h.address(t, laptop, "kept.foreign.example", families[0]); got != kept {
				t.Errorf("the undamaged name is at %s, want %s as before", got, kept)
			}
			if got := h.address(t, laptop, "lost.foreign.example", families[0]); !isFake(got) || got == kept {
				t.Errorf("the damaged name is at %s, want a fake address of its own", got)
			}
		})
	}
}
