package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/mark"
)

// served is a router that serves the lab's usual configuration.
func served(t *testing.T, c lab.Config) *router {
	t.Helper()
	r := boot(t)
	r.install()
	r.configure(c)
	r.sh("reload_config") // which the first one of a new file must not miss
	r.daemon()
	r.firewalled()
	return r
}

// firewalled waits until the firewall has taken our rule, which procd tells it
// a second late.
func (r *router) firewalled() {
	r.t.Helper()
	until(r.t, "the firewall accepts what is diverted", func() bool { return r.accepts() })
}

// accepts tells whether the chain input accepts by our mark.
func (r *router) accepts() bool {
	masked := fmt.Sprintf("Mask:%v", number(mark.Mask))
	return strings.Contains(strings.Join(r.input(), "\n"), masked)
}

// flow is a connection of a client's through the node, to an echo server.
func (r *router) flow() (say func() error) {
	r.t.Helper()
	laptop := r.Clients["laptop"]
	answer, err := laptop.Lookup(r.ctx(), r.At.RouterLAN.V4, "www.foreign.example", lab.TypeA, "udp")
	ok(r.t, err)
	if len(answer.Addrs) != 1 {
		r.t.Fatalf("www.foreign.example has the addresses %v, want one", answer.Addrs)
	}
	conn, err := laptop.DialTCP(r.ctx(), netip.AddrPortFrom(answer.Addrs[0], lab.EchoPort))
	ok(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	lines := bufio.NewReader(conn)
	n := 0
	say = func() error {
		n++
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintf(conn, "%d\n", n); err != nil {
			return err
		}
		for {
			line, err := lines.ReadString('\n')
			if err != nil || line == fmt.Sprintf("%d\n", n) {
				return err
			}
		}
	}
	ok(r.t, say())
	return say
}

func TestACommittedChangeIsAppliedWithoutLosingAFlow(t *testing.T) {
	r := served(t, lab.Config{})
	before := r.daemon()
	say := r.flow()
	r.sh("uci set fairlead.blocked.outbound=direct && uci commit fairlead && reload_config")
	until(t, "the change is applied", func() bool { return strings.Contains(r.read("/tmp/log"), "msg=reloaded") })
	if err := say(); err != nil {
		t.Errorf("a flow through the node: %v, want it to go on", err)
	}
	if after := r.daemon(); after != before {
		t.Errorf("procd has %+v, want the same process as before, %+v", after, before)
	}
	answer, err := r.Clients["laptop"].Lookup(r.ctx(), r.At.RouterLAN.V4, "www.blocked.example", lab.TypeA, "udp")
	if err != nil || answer.RCode != 0 {
		t.Errorf("what was rejected and is direct now is answered with code %d (%v), want 0", answer.RCode, err)
	}
}

func TestAConfigurationThatNobodyCanReadChangesNothing(t *testing.T) {
	r := served(t, lab.Config{})
	before := r.daemon()
	file := filepath.Join(r.root, "etc/config/fairlead")
	ok(t, os.WriteFile(file, []byte("config fairlead 'main\n"), 0o600))
	if out, code := r.try("/etc/init.d/fairlead reload 2>&1"); code == 0 || !strings.Contains(out, "cannot be read") {
		t.Errorf("reload exits %d and says %q, want it to refuse", code, out)
	}
	if after := r.daemon(); after != before {
		t.Errorf("procd has %+v, want the same process as before, %+v", after, before)
	}
	r.wantNode("laptop")
}

func TestWhatCannotChangeWhileItRunsRestartsIt(t *testing.T) {
	r := served(t, lab.Config{})
	before := r.daemon()
	r.sh("uci set fairlead.dns.fakeip_range=198.19.0.0/16 && uci commit fairlead && /etc/init.d/fairlead reload")
	until(t, "another process serves", func() bool {
		now := r.instances()["main"]
		return now.Running && now.Pid != before.Pid
	})
	r.daemon()
	answer, err := r.Clients["laptop"].Lookup(r.ctx(), r.At.RouterLAN.V4, "www.foreign.example", lab.TypeA, "udp")
	if err != nil || len(answer.Addrs) != 1 || !netip.MustParsePrefix("198.19.0.0/16").Contains(answer.Addrs[0]) {
		t.Errorf("a fake address is %v (%v), want one of the new range", answer.Addrs, err)
	}
}

func TestEnabledIsHonouredByAReload(t *testing.T) {
	r := boot(t)
	kernel := r.kernel()
	r.install()
	r.configure(lab.Config{})
	r.sh("reload_config")
	r.daemon()
	r.firewalled()
	r.sh("uci set fairlead.main.enabled=0 && uci commit fairlead && reload_config")
	until(t, "procd runs nothing of fairlead", func() bool { return len(r.instances()) == 0 })
	until(t, "the firewall takes its rule back", func() bool { return !r.accepts() })
	wantSame(t, "the kernel", r.kernel(), kernel)
	r.sh("uci set fairlead.main.enabled=1 && uci commit fairlead && reload_config")
	r.daemon()
	r.firewalled()
	r.wantNode("laptop")
}

func TestUntilTheFirewallHasItsRuleFlowsAreRefusedAndDoNotLeave(t *testing.T) {
	r := boot(t)
	r.install()
	r.configure(lab.Config{Default: "node"})
	r.sh("mv /sbin/fw4 /sbin/late && service fairlead start")
	r.daemon()
	if leaks := r.outside(func() {
		if _, err := r.Clients["laptop"].DialTCP(r.ctx(), netip.AddrPortFrom(r.At.Foreign.V4, 80)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a zone that rejects input answers a diverted flow with %v, want a refusal at once", err)
		}
	}); len(leaks) > 0 {
		t.Errorf("%d packets left directly, want none: %s", len(leaks), leaks[0])
	}
	r.sh("mv /sbin/late /sbin/fw4 && service firewall reload")
	r.firewalled()
	r.wantNode("laptop")
}
