package route

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func flow4(from, to uint16) (client, dialled netip.AddrPort) {
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), from), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), to)
}

func flow6(from, to uint16) (client, dialled netip.AddrPort) {
	return netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), from), netip.AddrPortFrom(netip.MustParseAddr("2001:db8::2"), to)
}

// track makes a conntrack entry of a UDP flow.
func track(t testing.TB, client, dialled netip.AddrPort) {
	t.Helper()
	family := netlink.InetFamily(unix.AF_INET)
	if client.Addr().Is6() {
		family = unix.AF_INET6
	}
	forward := netlink.IPTuple{Protocol: unix.IPPROTO_UDP,
		SrcIP: client.Addr().AsSlice(), SrcPort: client.Port(), DstIP: dialled.Addr().AsSlice(), DstPort: dialled.Port()}
	flow := &netlink.ConntrackFlow{FamilyType: uint8(family), TimeOut: 100, Forward: forward, Reverse: reverse(forward)}
	if err := netlink.ConntrackCreate(netlink.ConntrackTable, family, flow); err != nil {
		t.Fatalf("creating a conntrack entry from %s to %s: %v", client, dialled, err)
	}
}

// tracked lists the flows of both families by their original tuples.
func tracked(t *testing.T) map[[2]netip.AddrPort]bool {
	t.Helper()
	all := map[[2]netip.AddrPort]bool{}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flows {
			src, _ := netip.AddrFromSlice(f.Forward.SrcIP)
			dst, _ := netip.AddrFromSlice(f.Forward.DstIP)
			all[[2]netip.AddrPort{netip.AddrPortFrom(src.Unmap(), f.Forward.SrcPort), netip.AddrPortFrom(dst.Unmap(), f.Forward.DstPort)}] = true
		}
	}
	return all
}

func openConntrack(t testing.TB) *Conntrack {
	t.Helper()
	c, err := OpenConntrack()
	if err != nil {
		t.Fatalf("OpenConntrack: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestExactlyTheFlowThatIsNamedIsDeleted(t *testing.T) {
	enter(t)
	for _, flow := range []func(from, to uint16) (netip.AddrPort, netip.AddrPort){flow4, flow6} {
		for _, ports := range [][2]uint16{{4000, 443}, {4000, 444}, {4001, 443}, {443, 4000}} {
			client, dialled := flow(ports[0], ports[1])
			track(t, client, dialled)
		}
	}
	c := openConntrack(t)
	want := tracked(t)
	for _, flow := range []func(from, to uint16) (netip.AddrPort, netip.AddrPort){flow4, flow6} {
		client, dialled := flow(4000, 443)
		for range 2 { // the second time there is none
			if err := c.DeleteFlow(client, dialled); err != nil {
				t.Fatalf("DeleteFlow: %v", err)
			}
		}
		delete(want, [2]netip.AddrPort{client, dialled})
	}
	got := tracked(t)
	for flow := range want {
		if !got[flow] {
			t.Errorf("the flow %s is gone, want it kept", flow)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d flows are left, want %d", len(got), len(want))
	}
}

func BenchmarkDeleteFlow(b *testing.B) {
	enter(b)
	c := openConntrack(b)
	client, dialled := flow4(4000, 443)
	for b.Loop() {
		if err := c.DeleteFlow(client, dialled); err != nil {
			b.Fatal(err)
		}
	}
}
