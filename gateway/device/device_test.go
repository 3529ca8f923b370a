package device

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

const deadline = 10 * time.Second // of whatever is waited for

var (
	phone  = netip.MustParseAddr("192.168.1.50")
	phone6 = netip.MustParseAddr("fd00:1::50")
	tv     = netip.MustParseAddr("192.168.1.60")
	macA   = policy.MAC{2, 0, 0, 0, 0, 0xa}
	macB   = policy.MAC{2, 0, 0, 0, 0, 0xb}
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// router is a namespace with a LAN, and a Table in it.
type router struct {
	*Table
	t    testing.TB
	ns   *nstest.NS
	link int
}

type leases map[policy.MAC]string

func (l leases) Hostname(mac policy.MAC, _ netip.Addr) string { return l[mac] }

func newRouter(t testing.TB) *router {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		until(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
	})
	r := &router{Table: New(leases{macA: "phone"}, slog.New(slog.DiscardHandler)), t: t}
	var err error
	r.ns, err = nstest.New("router")
	ok(t, err)
	t.Cleanup(func() { r.ns.Close() })
	ok(t, nstest.Veth(nstest.End{NS: r.ns, Dev: "lan0"}, nstest.End{NS: r.ns, Dev: "far0"}))
	ok(t, r.ns.Addr("lan0", netip.MustParsePrefix("192.168.1.1/24")))
	ok(t, r.ns.Addr("lan0", netip.MustParsePrefix("fd00:1::1/64")))
	link, err := r.ns.Handle().LinkByName("lan0")
	ok(t, err)
	r.link = link.Attrs().Index
	return r
}

// serve follows the neighbour table until the test ends.
func (r *router) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.ns.Do(func() error { return r.Serve(ctx) }) }()
	r.t.Cleanup(func() {
		cancel()
		select {
		case err := <-served:
			ok(r.t, err)
		case <-time.After(deadline):
			r.t.Error("Serve goes on after its context, want it to end")
		}
	})
}

// set makes an entry of the kernel's neighbour table.
func (r *router) set(addr netip.Addr, mac policy.MAC, state int) {
	r.t.Helper()
	ok(r.t, r.ns.Handle().NeighSet(r.entry(addr, mac, state)))
}

func (r *router) entry(addr netip.Addr, mac policy.MAC, state int) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: r.link, IP: addr.AsSlice(), HardwareAddr: net.HardwareAddr(mac[:]), State: state}
}

// learns waits until the Table knows addr by mac, from events alone.
func (r *router) learns(addr netip.Addr, mac policy.MAC) {
	r.t.Helper()
	until(r.t, addr.String()+" with "+mac.String(), func() bool {
		n, _ := r.neighbour(addr)
		return n.mac == mac
	})
}

func (r *router) is(addr netip.Addr, want policy.Device) {
	r.t.Helper()
	var got policy.Device
	ok(r.t, r.ns.Do(func() error { got = r.Device(addr); return nil }))
	if got != want {
		r.t.Errorf("Device(%s) = %+v, want %+v", addr, got, want)
	}
}

// until waits for a condition that nobody announces.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waiting for %s: it did not come", what)
		}
	}
}

func TestDevicesAreKnownByTheirEvents(t *testing.T) {
	r := newRouter(t)
	r.set(tv, macB, netlink.NUD_REACHABLE) // before the Table listens
	r.serve()
	r.learns(tv, macB)
	r.set(phone, macA, netlink.NUD_REACHABLE)
	r.set(phone6, macA, netlink.NUD_STALE)
	r.learns(phone, macA)
	r.learns(phone6, macA)
	r.is(phone, policy.Device{Addr: phone, MAC: macA, Hostname: "phone", Interface: "lan0"})
	r.is(phone6.WithZone("lan0"), policy.Device{Addr: phone6, MAC: macA, Hostname: "phone", Interface: "lan0"})
	r.is(tv, policy.Device{Addr: tv, MAC: macB, Interface: "lan0"})
}

func TestAddressThatMovesToAnotherDeviceIsTheOther(t *testing.T) {
	r := newRouter(t)
	r.serve()
	r.set(phone, macA, netlink.NUD_REACHABLE)
	r.learns(phone, macA)
	r.set(phone, macB, netlink.NUD_REACHABLE)
	r.learns(phone, macB)
}

func TestDeletedEntryIsForgotten(t *testing.T) {
	r := newRouter(t)
	r.serve()
	r.set(phone, macA, netlink.NUD_REACHABLE)
	r.learns(phone, macA)
	ok(t, r.ns.Handle().NeighDel(r.entry(phone, macA, 0)))
	r.learns(phone, policy.MAC{})
	r.is(phone, policy.Device{Addr: phone, Interface: "lan0"})
}

func TestWhoIsGoneWhileEventsAreLostIsForgotten(t *testing.T) {
	r := newRouter(t)
	r.set(phone, macA, netlink.NUD_REACHABLE)
	r.apply(entry{addr: tv, mac: macB[:], link: r.link, state: netlink.NUD_REACHABLE}) // as if it had been there before
	r.serve()
	r.learns(phone, macA)
	r.learns(tv, policy.MAC{})
}

func TestDeviceThatFellAsleepStaysKnown(t *testing.T) {
	r := newRouter(t)
	r.serve()
	r.set(phone, macA, netlink.NUD_REACHABLE)
	r.learns(phone, macA)
	r.set(phone, macA, netlink.NUD_FAILED)
	r.set(tv, macB, netlink.NUD_REACHABLE) // its event comes later
	r.learns(tv, macB)
	r.learns(phone, macA)
}

func TestAddressWithoutAnEventIsAskedForInTheKernel(t *testing.T) {
	r := newRouter(t)
	r.set(phone, macA, netlink.NUD_REACHABLE)
	r.set(phone6, macA, netlink.NUD_REACHABLE)
	r.is(phone, policy.Device{Addr: phone, MAC: macA, Hostname: "phone", Interface: "lan0"})
	r.is(phone6, policy.Device{Addr: phone6, MAC: macA, Hostname: "phone", Interface: "lan0"})
}

func TestUnknownAddressIsKnownByItsRouteOnly(t *testing.T) {
	r := newRouter(t)
	r.is(phone, policy.Device{Addr: phone, Interface: "lan0"})
	elsewhere := netip.MustParseAddr("203.0.113.9")
	r.is(elsewhere, policy.Device{Addr: elsewhere})
}

func TestForgedSourcesAreNotKept(t *testing.T) {
	r := newRouter(t)
	r.serve()
	r.set(phone, macA, netlink.NUD_REACHABLE)
	r.learns(phone, macA)
	r.mu.RLock()
	before := len(r.byAddr)
	r.mu.RUnlock()
	forged := netip.MustParseAddr("fd00:1::100")
	next := func() netip.Addr { forged = forged.Next(); return forged }
	for range maxExpected {
		r.expect(next()) // and it never comes
	}
	if known, _ := r.expect(next()); known != nil {
		t.Errorf("one address more than %d is waited for, want it judged at once", maxExpected)
	}
	var flood sync.WaitGroup
	for range 1000 {
		addr := next()
		flood.Go(func() { r.ns.Do(func() error { r.Device(addr); return nil }) })
	}
	flood.Wait()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if got := len(r.byAddr); got != before {
		t.Errorf("got %d devices after a flood, want %d as before", got, before)
	}
}

// host puts a device into the LAN that answers for its addresses.
func (r *router) host(mac policy.MAC, addrs ...netip.Addr) {
	r.t.Helper()
	ns, err := nstest.New("host")
	ok(r.t, err)
	r.t.Cleanup(func() { ns.Close() })
	ok(r.t, nstest.Veth(nstest.End{NS: ns, Dev: "eth0", MAC: mac[:]}, nstest.End{NS: r.ns, Dev: "lan1"}))
	ok(r.t, r.ns.Addr("lan1", netip.MustParsePrefix("192.168.2.1/24")))
	ok(r.t, r.ns.Addr("lan1", netip.MustParsePrefix("fd00:2::1/64")))
	for _, a := range addrs {
		ok(r.t, ns.Addr("eth0", netip.PrefixFrom(a, a.BitLen()-8)))
	}
}

func TestADeviceThatTheKernelDoesNotKnowIsAskedForInTheLAN(t *testing.T) {
	for name, events := range map[string]bool{"with events": true, "while events are lost": false} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t)
			if events {
				r.serve()
			}
			four, six := netip.MustParseAddr("192.168.2.7"), netip.MustParseAddr("fd00:2::7")
			r.host(macA, four, six)
			for _, a := range []netip.Addr{four, six} {
				if d, known := r.Known(a); known {
					t.Errorf("Known(%s) = %+v before anybody asked, want unknown", a, d)
				}
				r.is(a, policy.Device{Addr: a, MAC: macA, Hostname: "phone", Interface: "lan1"})
				if d, _ := r.Known(a); d.MAC != macA {
					t.Errorf("Known(%s) = %+v afterwards, want %s", a, d, macA)
				}
			}
		})
	}
}

func BenchmarkDeviceThatIsUnknown(b *testing.B) {
	r := newRouter(b)
	b.ReportAllocs()
	ok(b, r.ns.Do(func() error {
		for b.Loop() {
			r.Device(phone)
		}
		return nil
	}))
}

func TestAllDevicesAreListedWithoutServe(t *testing.T) {
	r := newRouter(t)
	r.set(tv, macB, netlink.NUD_REACHABLE)
	r.set(phone6, macA, netlink.NUD_STALE)
	r.set(phone, macA, netlink.NUD_REACHABLE)
	r.set(netip.MustParseAddr("192.168.1.70"), policy.MAC{}, netlink.NUD_FAILED) // nobody is there
	want := []policy.Device{
		{Addr: phone, MAC: macA, Hostname: "phone", Interface: "lan0"},
		{Addr: tv, MAC: macB, Interface: "lan0"},
		{Addr: phone6, MAC: macA, Hostname: "phone", Interface: "lan0"},
	}
	var got []policy.Device
	ok(t, r.ns.Do(func() (err error) { got, err = r.All(); return err }))
	if !slices.Equal(got, want) {
		t.Errorf("All = %+v, want %+v", got, want)
	}
}
