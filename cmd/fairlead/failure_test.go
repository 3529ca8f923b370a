package main

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft"
)

// mistake is a section that spoils a configuration.
const mistake = "\nconfig rule 'typo'\n\tlist domain 'x.example'\n\toption outbound 'nod'\n"

func (h *home) web() netip.AddrPort { return netip.AddrPortFrom(h.At.Foreign.V4, 80) }

func hangUp(c *net.TCPConn) { c.Close() }

// spoil writes a configuration with a mistake.
func (h *home) spoil(c lab.Config) { h.t.Helper(); h.configure(h.ConfigText(c) + mistake) }

func TestAMistakeMadeBeforeACrashHasOnFailureSayWhatHappens(t *testing.T) {
	for _, tt := range []struct {
		before, after string
		reaches       bool
	}{
		{before: "open", after: "open", reaches: true},
		{before: "open", after: "closed", reaches: true}, // it was never taken over
		{before: "closed", after: "closed"},
		{before: "closed", after: "open"},
	} {
		h := newHome(t, lab.Options{}, lab.Config{Default: "node", OnFailure: tt.before})
		ok(t, h.daemon.Kill())
		h.spoil(lab.Config{Default: "node", OnFailure: tt.after})
		for _, command := range []string{"run", "guard"} {
			h.command(command)
			if got := h.reaches("laptop", h.web()); got != tt.reaches {
				t.Errorf("%s before the crash, %s behind it, after %s: a client reaches the web: %v, want %v", tt.before, tt.after, command, got, tt.reaches)
			}
		}
	}
}

func TestABootWithAMistakeClosesTheLANWhereTheFileSaysSo(t *testing.T) {
	h := newHouse(t, lab.Options{})
	before, err := h.RouterState()
	ok(t, err)
	h.spoil(lab.Config{OnFailure: "closed"})
	if _, errs, code := h.command("guard"); code != 0 {
		t.Fatalf("guard exits %d: %s", code, errs)
	}
	if h.reaches("laptop", h.web()) || h.reaches("laptop", netip.AddrPortFrom(h.At.Domestic.V4, 80)) {
		t.Error("a client reaches the web, want a refusal: what leaves directly nobody can tell")
	}
	h.listen(t, h.Router, netip.AddrPortFrom(h.At.RouterLAN.V4, 22), hangUp)
	if !h.reaches("laptop", netip.AddrPortFrom(h.At.RouterLAN.V4, 22)) {
		t.Error("the router cannot be reached any more, want it to be mended from the LAN")
	}
	h.configure(strings.Replace(h.ConfigText(lab.Config{OnFailure: "closed"}), "option enabled '1'", "option enabled '0'", 1) + mistake)
	if _, errs, code := h.command("guard"); code != 0 {
		t.Fatalf("guard exits %d: %s", code, errs)
	}
	if after, err := h.RouterState(); err != nil || after != before {
		t.Errorf("disabled, with a mistake, the router's kernel is not as before (%v):\n%s", err, difference(before, after))
	}
}

func TestAMistakeMadeBeforeACrashGivesDNSMasqBack(t *testing.T) {
	m, files, state := takesPlace(t)
	ok(t, m.daemon.Kill())
	m.configure(m.ConfigText(lab.Config{}) + mistake)
	if _, errs, code := m.command("run"); code != 1 || !strings.Contains(errs, ": typo: outbound: ") {
		t.Errorf("run exits %d and says %q, want the mistake", code, errs)
	}
	m.restored(files, state)
}

func TestAStartThatFailsLeavesWhatIsClosedClosed(t *testing.T) {
	h := newHouse(t, lab.Options{})
	before, err := h.RouterState()
	ok(t, err)
	h.listen(t, h.Router, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), nft.DNSPort), hangUp)
	h.configure(h.ConfigText(lab.Config{Default: "node", OnFailure: "closed"}))
	if _, errs, code := h.command("run"); code != 1 || !strings.Contains(errs, "7853 of 127.0.0.1, which no other program may have") {
		t.Fatalf("run exits %d and says %q, want it to fail for the port that somebody has", code, errs)
	}
	if h.reaches("laptop", h.web()) {
		t.Error("a client reaches the web, want a refusal")
	}
	h.configure(h.ConfigText(lab.Config{Default: "node"}))
	h.command("run")
	if after, err := h.RouterState(); err != nil || after != before {
		t.Errorf("where failure is open, the router's kernel is not as before (%v):\n%s", err, difference(before, after))
	}
}

func TestAStopBeforeAnotherStartLeavesWhatIsClosedClosed(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{Default: "node", OnFailure: "closed"}))
	restart := filepath.Join(h.StateDir(), "restart")
	for _, again := range []bool{true, false} {
		h.start()
		if again {
			ok(t, os.WriteFile(restart, nil, 0o600))
		} else {
			ok(t, os.Remove(restart))
		}
		ok(t, h.daemon.Signal(syscall.SIGTERM))
		if code, err := h.daemon.Wait(h.ctx()); err != nil || code != 0 {
			t.Fatalf("it exits %d (%v)", code, err)
		}
		if got := h.reaches("laptop", h.web()); got == again {
			t.Errorf("another start follows: %v, and a client reaches the web: %v", again, got)
		}
	}
}

func TestAStartIsTriedAgainOnceTheMistakeIsMended(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.spoil(lab.Config{})
	d, err := h.Run(exec.Command(underTest(t), "run", "--retry", "-c", h.config), asFairlead+"=1")
	ok(t, err)
	ok(t, d.WaitLog(h.ctx(), ": typo: outbound: "))
	h.configure(h.ConfigText(lab.Config{}))
	ok(t, d.Signal(syscall.SIGHUP))
	ok(t, d.Ready(h.ctx()))
	if n := strings.Count(d.Log(), ": typo: outbound: "); n != 1 {
		t.Errorf("it says what is wrong %d times, want once", n)
	}
}
