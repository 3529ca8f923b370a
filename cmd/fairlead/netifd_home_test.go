package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/openwrt/ubus/ubustest"
)

// openWrt gives the router a bus where OpenWrt has it. Fairlead has to be started
// with what it returns.
func (h *home) openWrt(t *testing.T, interfaces ...any) (*bus, preparation) {
	t.Helper()
	run := filepath.Join(h.Dir, "run")
	ok(t, os.MkdirAll(filepath.Join(run, "ubus"), 0o700))
	return newBus(t, filepath.Join(run, "ubus", "ubus.sock"), interfaces...), preparation{Over: map[string]string{"/run": run}}
}

func named(name, device string) ubustest.Table {
	return ubustest.Of("interface", name, "up", true, "l3_device", device, "device", "eth9")
}

func TestANetworkIsServedWhereverNetifdPutsItAndNobodyElseNotices(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(replaced(h.ConfigText(lab.Config{Main: []string{"list network 'guest'"}}), "list device '"+lab.LAN+"'", "list network 'lan'"))
	b, p := h.openWrt(t, named("lan", lab.LAN))
	h.startPrepared(t, p)
	guest := h.guest(t, "guest.7")
	address := func() netip.Addr {
		answer, err := guest.Lookup(h.ctx(), netip.MustParseAddr("192.168.78.1"), "www.foreign.example", lab.TypeA, "udp")
		if err != nil || len(answer.Addrs) == 0 {
			return netip.Addr{}
		}
		return answer.Addrs[0]
	}
	fake := func() bool { return isFake(address()) }
	if fake() {
		t.Fatal("the guest is served before netifd knows its network")
	}

	ctx, stop := context.WithCancel(t.Context())
	traffic := newProbe(t, h).load(ctx, h.Clients["laptop"])
	h.heals(t, "the guests' network coming up", func() { b.change(named("lan", lab.LAN), named("guest", "guest.7")) }, fake)
	h.heals(t, "its end", func() { b.change(named("lan", lab.LAN)) }, func() bool { return !fake() })
	ok(t, b.Close())
	ok(t, os.RemoveAll(filepath.Join(h.Dir, "run", "ubus", "ubus.sock")))
	b.set(named("lan", lab.LAN), named("guest", "guest.7"))
	h.heals(t, "a restart of ubusd", func() { ok(t, b.Listen()) }, fake)
	h.wantPath(t, guest, address(), byNode)
	stop()
	traffic.all.Wait()
	close(traffic.strikes)
	for strike := range traffic.strikes {
		t.Errorf("felt: %s", strike)
	}
	if traffic.done.Load() < 100 {
		t.Errorf("%d exchanges took place meanwhile, want some hundred", traffic.done.Load())
	}
}

func TestAnUpdateThatMovesNothingMakesNothingNew(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(replaced(h.ConfigText(lab.Config{}), "list device '"+lab.LAN+"'", "list network 'lan'"))
	b, p := h.openWrt(t, named("lan", lab.LAN))
	h.startPrepared(t, p)
	until(t, soon, "the subscription", func() bool { return b.Subscribers(netifdObject) == 1 })
	before := h.snapshot(t)
	calls := b.Calls()
	b.change(named("lan", lab.LAN), named("vpn", "wg0"))
	until(t, soon, "the question what changed", func() bool { return b.Calls() > calls })
	laptop := h.Clients["laptop"]
	h.wantPath(t, laptop, h.address(t, laptop, "www.foreign.example", families[0]), byNode)
	if got, want := lines(h.snapshot(t), "rule "), lines(before, "rule "); got != want {
		t.Errorf("there are %d rules, want %d as before", got, want)
	}
}

func TestTheUpstreamAutoAsksWhomNetifdTellsOf(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(replaced(h.ConfigText(lab.Config{}), "option local_upstream 'isp'", "option local_upstream 'auto'"))
	b, p := h.openWrt(t, uplinkUp(0, h.At.ISP.V4.String()))
	if _, err := os.Stat(resolvConfs()[0]); err == nil {
		empty := filepath.Join(h.Dir, "resolv.conf.auto")
		ok(t, os.WriteFile(empty, nil, 0o600))
		p.Over[resolvConfs()[0]] = empty
	}
	h.startPrepared(t, p)
	until(t, soon, "the subscription", func() bool { return b.Subscribers(netifdObject) == 1 })

	n := 0
	onlyAsked := func(server netip.Addr) bool {
		n++
		name := fmt.Sprintf("n%d.domestic.example", n)
		answer, err := h.Clients["laptop"].Lookup(h.ctx(), h.At.RouterLAN.V4, name, lab.TypeA, "udp")
		others := func(q lab.Query) bool { return q.Name == name && q.Server.Addr() != server }
		return err == nil && len(answer.Addrs) == 1 && !slices.ContainsFunc(h.ISPLog(), others)
	}
	if !onlyAsked(h.At.ISP.V4) {
		t.Errorf("others than the WAN's resolver %s were asked, or nobody answered", h.At.ISP.V4)
	}
	h.heals(t, "another resolver on the WAN", func() {
		b.change(uplinkUp(0, h.At.RouterLAN.V4.String(), h.At.RouterWAN.V4.String(), h.At.Public.V4.String()))
	}, func() bool { return onlyAsked(h.At.Public.V4) })
}
