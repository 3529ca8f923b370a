package route

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestTheOriginOfATranslatedFlowIsFound(t *testing.T) {
	enter(t)
	c := openConntrack(t)
	client, server := flow4(4000, 53)
	outside := netip.MustParseAddrPort("203.0.113.2:4000")
	back := netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: server.Addr().AsSlice(), SrcPort: server.Port(), DstIP: outside.Addr().AsSlice(), DstPort: outside.Port()}
	entry := &netlink.ConntrackFlow{FamilyType: unix.AF_INET, TimeOut: 100, Reverse: back,
		Forward: netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: client.Addr().AsSlice(), SrcPort: client.Port(), DstIP: server.Addr().AsSlice(), DstPort: server.Port()}}
	if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, entry); err != nil {
		t.Fatal(err)
	}
	client6, server6 := flow6(4001, 53)
	track(t, client6, server6)
	for _, tt := range []struct {
		sentence string
		src, dst netip.AddrPort
		want     netip.AddrPort // invalid: unknown
	}{
		{"a flow that was translated", outside, server, client},
		{"one that was not", client6, server6, client6},
		{"one that there is not", outside, netip.MustParseAddrPort("192.0.2.9:53"), netip.AddrPort{}},
	} {
		got, ok, err := c.Origin(unix.IPPROTO_UDP, tt.src, tt.dst)
		if err != nil || ok != tt.want.IsValid() || got != tt.want {
			t.Errorf("%s: Origin = %v, %v, %v; want %v", tt.sentence, got, ok, err, tt.want)
		}
	}
}

func FuzzConntrackEntriesMayBeAnything(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 20, 0, 1, 128, 16, 0, 1, 128, 8, 0, 1, 0, 192, 0, 2, 1, 8, 0, 2, 0, 192, 0, 2, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if from, ok := originalSource(b); ok && !from.Addr().IsValid() {
			t.Errorf("the source of % x is %v, want an address", b, from)
		}
	})
}
