package route

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel says is bounded by what it sends, and no message of it may end
// the daemon.
func FuzzAnswersOfTheKernel(f *testing.F) {
	route := entry{to: netip.MustParsePrefix("10.0.0.0/8"), table: 1000, tag: Tag, kind: unix.RTN_UNICAST, gateway: netip.MustParseAddr("10.0.0.1"), link: 2, metric: 5, onlink: true}
	attrs, err := route.attributes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(route.header(), attrs...))
	f.Add(genericHeader(unix.AF_INET))
	f.Fuzz(func(t *testing.T, b []byte) {
		answers := [][]byte{b}
		parseAll(answers, unix.SizeofIfInfomsg, parseLink)
		parseAll(answers, unix.SizeofIfAddrmsg, parseAddress)
		parseAll(answers, sizeofRuleHeader, parseRule)
		markOf(b)
		all, err := parseAll(answers, unix.SizeofRtMsg, parseEntry)
		if err == nil && len(all) == 1 {
			_ = all[0].String()
		}
	})
}

func TestARouteIsReadAsItIsWritten(t *testing.T) {
	want := entry{to: netip.MustParsePrefix("2001:db8::/32"), table: 1003, tag: Tag, kind: unix.RTN_UNICAST, gateway: netip.MustParseAddr("fe80::1"), link: 7, metric: 9}
	attrs, err := want.attributes()
	if err != nil {
		t.Fatal(err)
	}
	all, err := parseAll([][]byte{append(want.header(), attrs...)}, unix.SizeofRtMsg, parseEntry)
	if err != nil || len(all) != 1 || all[0].String() != want.String() || all[0].tag != Tag {
		t.Errorf("it is read as %v, %v, want %v", all, err, want)
	}
}

func TestARouteOfSeveralWaysLeadsThroughAllOfTheirLinks(t *testing.T) {
	var b []byte
	for _, link := range []uint32{3, 5} { // struct rtnexthop, with four bytes of attributes
		hop := make([]byte, unix.SizeofRtNexthop+4)
		binary.NativeEndian.PutUint16(hop, uint16(len(hop)))
		binary.NativeEndian.PutUint32(hop[4:], link)
		b = append(b, hop...)
	}
	if got, want := parseHops(b), []int{3, 5}; !slices.Equal(got, want) {
		t.Errorf("the links are %v, want %v", got, want)
	}
	if got, want := parseHops(b[:len(b)-5]), []int{3}; !slices.Equal(got, want) {
		t.Errorf("cut short, the links are %v, want %v", got, want)
	}
}

func TestAnAddressWithAPeerHasTheNetworkOfThePeer(t *testing.T) {
	own, peer := netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("10.2.2.9")
	header := []byte{unix.AF_INET, 24, 0, unix.RT_SCOPE_UNIVERSE, 0, 0, 0, 0}
	attr := func(kind byte, a netip.Addr) []byte {
		b := make([]byte, 4, 8)
		binary.NativeEndian.PutUint16(b, 8)
		binary.NativeEndian.PutUint16(b[2:], uint16(kind))
		return append(b, a.AsSlice()...)
	}
	message := slices.Concat(header, attr(unix.IFA_ADDRESS, peer), attr(unix.IFA_LOCAL, own))
	all, err := parseAll([][]byte{message}, unix.SizeofIfAddrmsg, parseAddress)
	want := []netip.Prefix{netip.MustParsePrefix("10.1.1.1/32"), netip.MustParsePrefix("10.2.2.0/24")}
	if err != nil || len(all) != 1 || !slices.Equal(all[0].prefixes, want) {
		t.Errorf("its prefixes are %v, %v, want %v", all, err, want)
	}
}
