package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/doctor"
	"github.com/fairlead/fairlead/openwrt/ubus"
	"github.com/fairlead/fairlead/openwrt/ubus/ubustest"
)

// bus is an OpenWrt router's bus, with a netifd that tells of interfaces.
type bus struct {
	*ubustest.Server
	interfaces atomic.Pointer[ubustest.Array]
}

func newBus(t *testing.T, socket string, interfaces ...any) *bus {
	t.Helper()
	s, err := ubustest.Start(socket)
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	b := &bus{Server: s}
	b.set(interfaces...)
	b.startNetifd()
	return b
}

func (b *bus) set(interfaces ...any) {
	list := ubustest.Array(interfaces)
	b.interfaces.Store(&list)
}

func (b *bus) startNetifd() {
	b.Handle(netifdObject, map[string]ubustest.Method{
		"dump": func() (ubustest.Table, uint32) { return ubustest.Of("interface", *b.interfaces.Load()), 0 },
	})
}

// change is what netifd does when something happens to an interface.
func (b *bus) change(interfaces ...any) {
	b.set(interfaces...)
	b.Notify(netifdObject, "interface.update", ubustest.Of("interface", "any"))
}

// interfaces as netifd tells of them.
var (
	lanUp     = ubustest.Of("interface", "lan", "up", true, "l3_device", "br-lan.10", "proto", "static", "device", "br-lan.10")
	guestDown = ubustest.Of("interface", "guest", "up", false, "proto", "static", "device", "br-guest")
	vpnUp     = ubustest.Of("interface", "vpn", "up", true, "l3_device", "wg0", "proto", "wireguard")
)

// uplinkUp is an uplink by PPPoE with its resolvers.
func uplinkUp(metric int, resolvers ...any) ubustest.Table {
	return ubustest.Of("interface", "wan", "up", true, "l3_device", "pppoe-wan", "proto", "pppoe", "device", "eth1",
		"dns_metric", metric, "route", ubustest.Array{ubustest.Of("target", "0.0.0.0", "mask", 0, "nexthop", "192.0.2.1")},
		"dns-server", ubustest.Array(resolvers))
}

func testNetifd(t *testing.T) *netifd {
	dir := t.TempDir()
	return &netifd{socket: filepath.Join(dir, "ubus.sock"), file: filepath.Join(dir, "network"), log: slog.New(slog.DiscardHandler)}
}

func TestANetworkIsTheInterfaceThatNetifdHasItOn(t *testing.T) {
	n := testNetifd(t)
	newBus(t, n.socket, lanUp, guestDown, vpnUp, uplinkUp(0), ubustest.Of("interface", "loopback", "up", true),
		ubustest.Of("interface", "odd", "up", true, "l3_device", "a-name-of-16-octets"))
	got, err := n.networks()
	ok(t, err)
	want := networks{"lan": {"br-lan.10"}, "guest": {"br-guest"}, "vpn": {"wg0"}, "wan": {"pppoe-wan"}, "loopback": nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("networks = %v, want %v", got, want)
	}
}

func TestABusThatHangsIsLeftForAnother(t *testing.T) {
	t.Parallel()
	n := testNetifd(t)
	hung, err := net.Listen("unix", n.socket)
	ok(t, err)
	defer hung.Close()
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() { watched <- n.watch(ctx, func(told) error { return nil }) }()
	hung.(*net.UnixListener).SetDeadline(time.Now().Add(patience))
	for _, which := range []string{"first", "second"} {
		if _, err := hung.Accept(); err != nil {
			t.Fatalf("waiting for the %s connection to a bus that says nothing: %v", which, err)
		}
	}
	cancel()
	ok(t, <-watched)
}

func TestWithoutNetifdTheNetworksAreAsConfigured(t *testing.T) {
	for what, prepare := range map[string]func(n *netifd){
		"no bus":        func(*netifd) {},
		"no netifd yet": func(n *netifd) { newBus(t, n.socket).Remove(netifdObject) },
		"a bus that does not let us": func(n *netifd) {
			newBus(t, n.socket).Handle(netifdObject, nil)
		},
	} {
		n := testNetifd(t)
		ok(t, os.WriteFile(n.file, []byte("config interface 'lan'\n\toption device 'br0'\n"), 0o600))
		prepare(n)
		got, err := n.networks()
		if want := (networks{"lan": {"br0"}}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: networks = %v, %v, want %v", what, got, err, want)
		}
	}
}

func TestTheResolversAreThoseOfUplinksTheBestFirst(t *testing.T) {
	n := testNetifd(t)
	second := ubustest.Of("interface", "wwan6", "up", true, "l3_device", "wwan0", "dns_metric", 20,
		"route", ubustest.Array{ubustest.Of("target", "2001:db8::", "mask", 32), ubustest.Of("target", "::", "mask", 0)},
		"dns-server", ubustest.Array{"fe80::1", "2001:db8::53", "no address"})
	inner := ubustest.Of("interface", "office", "up", true, "l3_device", "tun0",
		"route", ubustest.Array{ubustest.Of("target", "0.0.0.0", "mask", 1)}, "dns-server", ubustest.Array{"10.0.0.53"})
	newBus(t, n.socket, second, inner, uplinkUp(10, "192.0.2.53"))
	if _, err := n.networks(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range n.resolvers() {
		got = append(got, r.String())
	}
	if want := []string{"192.0.2.53:53", "[fe80::1%wwan0]:53", "[2001:db8::53]:53"}; !slices.Equal(got, want) {
		t.Errorf("the resolvers are %v, want %v", got, want)
	}
}

// watched is what watch tells.
func watched(t *testing.T, n *netifd) <-chan told {
	t.Helper()
	heard := make(chan told, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.watch(ctx, func(t told) error { heard <- t; return nil })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return heard
}

// hears waits until the network lan is on a device.
func hears(t *testing.T, heard <-chan told, device string) {
	t.Helper()
	deadline := time.After(soon)
	for {
		select {
		case got := <-heard:
			if slices.Equal(got.networks["lan"], []string{device}) {
				return
			}
		case <-deadline:
			t.Fatalf("nobody told that lan is on %s", device)
		}
	}
}

func lanOn(device string) ubustest.Table {
	return ubustest.Of("interface", "lan", "up", true, "l3_device", device)
}

func TestNetworksAreFollowed(t *testing.T) {
	n := testNetifd(t)
	b := newBus(t, n.socket, lanOn("br0"))
	heard := watched(t, n)
	hears(t, heard, "br0")
	b.change(lanOn("br1"))
	hears(t, heard, "br1")

	b.Remove(netifdObject)
	b.set(lanOn("br2"))
	b.startNetifd()
	hears(t, heard, "br2")
	b.change(lanOn("br3"))
	hears(t, heard, "br3")

	ok(t, b.Close())
	b.set(lanOn("br4"))
	ok(t, os.RemoveAll(n.socket))
	ok(t, b.Listen())
	hears(t, heard, "br4")
	b.change(lanOn("br5"))
	hears(t, heard, "br5")
	if got := b.Subscribers(netifdObject); got != 1 {
		t.Errorf("netifd has %d subscribers, want 1", got)
	}
}

func TestAnInterfaceThatIsConfiguredLaterIsHeardOf(t *testing.T) {
	n := testNetifd(t)
	b := newBus(t, n.socket)
	heard := watched(t, n)
	until(t, soon, "the subscription", func() bool { return b.Subscribers(netifdObject) == 1 })
	b.set(lanOn("br0"))
	b.Handle(netifdObject+".lan", nil)
	hears(t, heard, "br0")
}

func TestManyEventsAtOnceAreOneQuestion(t *testing.T) {
	n := testNetifd(t)
	b := newBus(t, n.socket, lanOn("br0"))
	heard := watched(t, n)
	hears(t, heard, "br0")
	before := b.Calls()
	for range 50 {
		b.Notify(netifdObject, "interface.update", nil)
	}
	b.change(lanOn("br1"))
	hears(t, heard, "br1")
	if got := b.Calls() - before; got > 5 {
		t.Errorf("51 events led to %d questions, want a few", got)
	}
}

func TestWhatCouldNotBeFollowedIsTriedAgain(t *testing.T) {
	n := testNetifd(t)
	newBus(t, n.socket, lanOn("br0"))
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	times := 0
	n.watch(ctx, func(told) error {
		if times++; times == 2 {
			cancel()
		}
		return errors.New("the kernel is busy")
	})
	if times != 2 {
		t.Errorf("a change that failed was tried %d times, want again", times)
	}
}

func TestTheBusOfOpenWrtIsTheDefault(t *testing.T) {
	if want := "/var/run/ubus/ubus.sock"; ubus.Socket != want {
		t.Errorf("the bus is looked for at %s, want %s", ubus.Socket, want)
	}
}

func TestTheWANsResolversAreWhereverSomebodySaysThem(t *testing.T) {
	dir := t.TempDir()
	collected, general := filepath.Join(dir, "resolv.conf.auto"), filepath.Join(dir, "resolv.conf")
	said := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:53")}
	ours := netip.MustParseAddr("192.0.2.99")
	w := &wan{
		collected: &resolvConf{path: collected}, general: &resolvConf{path: general},
		told: func() []netip.AddrPort { return said }, own: func(a netip.Addr) bool { return a == ours || a == netip.MustParseAddr("fe80::99") },
	}
	check := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, r := range w.resolvers() {
			got = append(got, r.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the resolvers are %v, want %v", what, got, want)
		}
	}
	ok(t, os.WriteFile(general, []byte("nameserver 127.0.0.1\nnameserver 192.0.2.3\n"), 0o600))
	check("no file of netifd's", "192.0.2.2:53")
	said = nil
	check("and no netifd", "192.0.2.3:53")
	ok(t, os.WriteFile(collected, []byte("# Interface wan\nnameserver 192.0.2.1\nnameserver fe80::1%eth1\nsearch lan\n# Interface lan\nnameserver 192.0.2.99\nnameserver fe80::99%br-lan\nnameserver ::1\n"), 0o600))
	check("netifd's file, with addresses of ours", "192.0.2.1:53", "[fe80::1%eth1]:53")
	ok(t, os.WriteFile(collected+".new", []byte("nameserver 192.0.2.4\n"), 0o600))
	ok(t, os.Rename(collected+".new", collected))
	check("another file in its place", "192.0.2.4:53")
	ok(t, os.WriteFile(collected, nil, 0o600))
	check("nothing announced, as while a link is down", "192.0.2.3:53")
	ok(t, os.Remove(collected))
	check("the file gone", "192.0.2.3:53")
}

func TestProcdIsAskedForWhatItRuns(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "ubus.sock")
	b := newBus(t, socket)
	instance := func(running bool) ubustest.Table {
		return ubustest.Of("instances", ubustest.Of("main", ubustest.Of("running", running, "command", ubustest.Array{"/usr/bin/x", "run"})))
	}
	b.Handle("service", map[string]ubustest.Method{"list": func() (ubustest.Table, uint32) {
		return ubustest.Of("nikki", instance(true), "pbr", instance(false), "urandom_seed", ubustest.Of("triggers", ubustest.Array{})), 0
	}})
	got, err := servicesOf(socket)
	if want := []doctor.Service{{Name: "nikki", Running: true}, {Name: "pbr"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("the services are %v, %v, want %v", got, err, want)
	}
	if _, err := servicesOf(socket + ".none"); err == nil {
		t.Error("services are known without a bus")
	}
}

// In a jail fairlead is a user of its own, whom ubusd allows only what a file of
// the package says.
func TestTheAccessListHasWhatIsAskedOverTheBus(t *testing.T) {
	text, err := os.ReadFile("../../package/openwrt/files/usr/share/acl.d/fairlead.json")
	ok(t, err)
	var got struct {
		User              string
		Access            map[string]struct{ Methods []string }
		Subscribe, Listen []string
	}
	ok(t, jsonInto(string(text), &got))
	if got.User != "fairlead" {
		t.Errorf("the list is for %q, want fairlead", got.User)
	}
	for object, method := range map[string]string{netifdObject: "dump", "service": "list"} {
		if !slices.Equal(got.Access[object].Methods, []string{method}) {
			t.Errorf("of %s it allows %v, want %s alone", object, got.Access[object].Methods, method)
		}
	}
	if !slices.Equal(got.Subscribe, []string{netifdObject}) || !slices.Equal(got.Listen, []string{objectEvents + "*"}) {
		t.Errorf("it allows to subscribe to %v and to listen for %v, want %s and %s*", got.Subscribe, got.Listen, netifdObject, objectEvents)
	}
}
