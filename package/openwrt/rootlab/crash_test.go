package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// web tells whether a client gets to the web directly.
func (r *router) web(client string) bool {
	r.t.Helper()
	c, err := r.Clients[client].DialTCP(r.ctx(), netip.AddrPortFrom(r.At.Foreign.V4, 80))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// spoil makes the program end at once when it shall run as gateway, like one
// that was written to broken flash; its other commands still work.
func (r *router) spoil() {
	r.t.Helper()
	r.sh("mv /usr/bin/fairlead /usr/bin/sound")
	ok(r.t, os.WriteFile(filepath.Join(r.root, "usr/bin/fairlead"), []byte("#!/bin/sh\n[ \"$1\" != run ] && exec /usr/bin/sound \"$@\"\n"), 0o755))
}

// mend takes that back.
func (r *router) mend() { r.t.Helper(); r.sh("mv /usr/bin/sound /usr/bin/fairlead") }

func TestAGatewayThatIsKilledAgainAndAgainIsAlwaysStartedAgain(t *testing.T) {
	r := served(t, lab.Config{})
	for range 6 { // procd would give up after five
		before := r.daemon()
		r.kill()
		until(t, "procd starts it again", func() bool {
			now := r.instances()["main"]
			return now.Running && now.Pid != before.Pid
		})
	}
	r.daemon()
	r.wantNode("laptop")
	if n := strings.Count(r.read("/tmp/log"), "guarding the LAN"); n != 1 {
		t.Errorf("the log tells %d times that the LAN is guarded, want once, after the third crash in a minute", n)
	}
}

func TestThreeCrashesInAMinuteAreClearedAway(t *testing.T) {
	r := boot(t)
	r.install()
	r.configure(lab.Config{Default: "node"})
	kernel := r.kernel()
	r.sh("/etc/init.d/fairlead start")
	r.daemon()
	r.spoil()
	r.kill()
	until(t, "the guard clears away what the crash left", func() bool {
		return strings.Contains(r.read("/tmp/log"), "guarding the LAN") && !r.tabled()
	})
	if !r.web("laptop") {
		t.Error("a client does not get to the web, want a router as without fairlead")
	}
	r.mend()
	r.daemon()
	r.sh("/etc/init.d/fairlead stop")
	until(t, "the firewall takes its rule back", func() bool { return !r.accepts() })
	wantSame(t, "the kernel after a stop", r.kernel(), kernel)
}

func TestWhereFailureIsClosedNothingLeavesFromTheBootOnWithoutAGateway(t *testing.T) {
	r := boot(t)
	r.install()
	r.configure(lab.Config{Default: "node", OnFailure: "closed"})
	r.spoil()
	if !r.web("laptop") {
		t.Fatal("a router without fairlead does not reach the web")
	}
	r.sh("/etc/init.d/fairlead boot")
	if r.web("laptop") {
		t.Error("at boot, before the gateway runs, a client gets to the web, want a refusal")
	}
	r.mend()
	r.daemon()
	r.firewalled()
	r.wantNode("laptop")
	r.sh("/etc/init.d/fairlead stop", "PKG_UPGRADE=1")
	if r.web("laptop") {
		t.Error("between two versions a client gets to the web, want a refusal")
	}
	r.sh("/etc/init.d/fairlead start && /etc/init.d/fairlead stop")
	if !r.web("laptop") {
		t.Error("after an explicit stop a client does not get to the web")
	}
}

func TestWhoeverWaitsForCrashesIsStartedAgainAndEndsWithTheService(t *testing.T) {
	r := served(t, lab.Config{})
	before := r.instances()["watch"]
	r.sh("kill -9 $(pidof ubus) || :") // beside the one that waits, one that asks may be over already
	until(t, "procd starts it again", func() bool {
		now := r.instances()["watch"]
		return now.Running && now.Pid != before.Pid
	})
	r.sh("/etc/init.d/fairlead stop")
	until(t, "nothing of it is left", func() bool {
		_, code := r.try("grep -q -e subscri[b]e -e fairlead/[w]atch /proc/[0-9]*/cmdline")
		return code != 0
	})
}

func TestWhatACrashLeftIsTakenBackWhenFairleadIsDisabled(t *testing.T) {
	r := bootWith(t, time.Second)
	kernel := r.kernel()
	r.install()
	r.configure(lab.Config{OnFailure: "closed"})
	r.sh("service fairlead start")
	r.daemon()
	r.firewalled()
	// For five seconds it lies dead, and nobody of procd's is there to be stopped.
	r.kill()
	r.sh("uci set fairlead.main.enabled=0 && uci commit fairlead && service fairlead reload")
	until(t, "the firewall takes its rule back", func() bool { return !r.accepts() })
	wantSame(t, "the kernel", r.kernel(), kernel)
}
