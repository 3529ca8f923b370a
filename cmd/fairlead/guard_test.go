package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// reaches says whether a client gets through to a web server, without waiting
// for what does not answer.
func (h *home) reaches(client string, to netip.AddrPort) bool {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx(), 2*time.Second)
	defer cancel()
	c, err := h.Clients[client].DialTCP(ctx, to)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func TestTheGuardRefusesWhatWouldBeDivertedUntilADaemonIsThere(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{Default: "node", OnFailure: "closed"}))
	web := netip.AddrPortFrom(h.At.Foreign.V4, 80)
	if !h.reaches("laptop", web) {
		t.Fatal("a router without fairlead does not reach the web")
	}
	if _, errs, code := h.command("guard"); code != 0 {
		t.Fatalf("guard exits %d: %s", code, errs)
	}
	if h.reaches("laptop", web) {
		t.Error("guarded, a client reaches the web directly, want a refusal")
	}
	if _, err := h.Clients["laptop"].Lookup(h.ctx(), h.At.RouterLAN.V4, "www.foreign.example", 1, "udp"); err == nil {
		t.Error("guarded, a question is answered, want a refusal")
	}
	h.start()
	seen, err := h.Clients["laptop"].GetHTTPAt(h.ctx(), h.At.Foreign.V4, "http://www.foreign.example/")
	if err != nil || seen.Client.Addr() != h.At.Node.V4 {
		t.Errorf("with the daemon running the web sees %v (%v), want the node", seen.Client, err)
	}
	if _, errs, code := h.command("guard"); code == 0 {
		t.Errorf("guard exits 0 beside a running daemon: %s", errs)
	}
}

func TestTheGuardRemovesWhatACrashLeftWhereFailureIsOpen(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Default: "node"})
	if err := h.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := h.command("guard"); code != 0 {
		t.Fatalf("guard exits %d: %s", code, errs)
	}
	if !h.reaches("laptop", netip.AddrPortFrom(h.At.Foreign.V4, 80)) {
		t.Error("after the guard, a client does not reach the web directly")
	}
}

func TestWhereThereWasNoRoomForARecordTheConfigurationSaysWhetherToClose(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "fairlead")
	ok(t, os.WriteFile(file, []byte("config fairlead 'main'\n\toption enabled '1'\n\toption on_failure 'closed'\n\toption state_dir '"+dir+"'\n"), 0o600))
	ok(t, os.WriteFile(policyFile(dir), nil, 0o600))
	if !placesOf(file).closes() {
		t.Error("an empty record opens the LAN, want it to close as the configuration says")
	}
}
