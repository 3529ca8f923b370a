package route

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// entry is a route.
type entry struct {
	to      netip.Prefix
	table   int
	tag     byte // its protocol
	kind    byte // RTN_ of linux/rtnetlink.h
	scope   byte
	metric  int // 0: what the kernel takes
	link    int
	hops    []int      // links, of a route with several ways
	gateway netip.Addr // invalid: none
	onlink  bool       // the gateway need not lie in a network of the link
	cloned  bool       // learned, and none of anybody's
}

func (f family) entries(k kernel) ([]entry, error) {
	return dump(k, unix.RTM_GETROUTE, f.number, unix.SizeofRtMsg, parseEntry)
}

// ourEntries are those with our tag.
func (f family) ourEntries(k kernel) ([]entry, error) {
	all, err := f.entries(k)
	var ours []entry
	for _, e := range all {
		if e.tag == Tag && !e.cloned {
			ours = append(ours, e)
		}
	}
	return ours, err
}

// parseEntry reads struct rtmsg of linux/rtnetlink.h.
func parseEntry(header []byte, attrs *netlink.AttributeDecoder) (entry, error) {
	e := entry{
		table: int(header[4]), tag: header[5], scope: header[6], kind: header[7],
		cloned: binary.NativeEndian.Uint32(header[8:])&unix.RTM_F_CLONED != 0,
	}
	to := netip.IPv4Unspecified()
	if header[0] == unix.AF_INET6 {
		to = netip.IPv6Unspecified()
	}
	for attrs.Next() {
		switch attrs.Type() {
		case unix.RTA_DST:
			to, _ = netip.AddrFromSlice(attrs.Bytes())
		case unix.RTA_GATEWAY:
			e.gateway, _ = netip.AddrFromSlice(attrs.Bytes())
		case unix.RTA_OIF:
			e.link = int(attrs.Uint32())
		case unix.RTA_PRIORITY:
			e.metric = int(attrs.Uint32())
		case unix.RTA_TABLE:
			e.table = int(attrs.Uint32())
		case unix.RTA_MULTIPATH:
			e.hops = parseHops(attrs.Bytes())
		}
	}
	e.to = netip.PrefixFrom(to, int(header[1]))
	return e, nil
}

// parseHops reads a row of struct rtnexthop: length, flags, weight, link.
func parseHops(b []byte) (links []int) {
	for len(b) >= unix.SizeofRtNexthop {
		links = append(links, int(binary.NativeEndian.Uint32(b[4:])))
		n := int(binary.NativeEndian.Uint16(b))
		n = (n + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		b = b[n:]
	}
	return links
}

func (k kernel) addEntry(e entry) error {
	return k.change(unix.RTM_NEWROUTE, netlink.Create|netlink.Excl, e)
}

func (k kernel) deleteEntry(e entry) error { return k.change(unix.RTM_DELROUTE, 0, e) }

func (k kernel) change(kind netlink.HeaderType, flags netlink.HeaderFlags, e entry) error {
	attrs, err := e.attributes()
	if err != nil {
		return err
	}
	_, err = k.ask(kind, flags|netlink.Acknowledge, append(e.header(), attrs...))
	return err
}

func (e entry) header() []byte {
	h := make([]byte, unix.SizeofRtMsg)
	h[0], h[1] = familyOf(e.to.Addr()), byte(e.to.Bits())
	h[4], h[5], h[6], h[7] = unix.RT_TABLE_UNSPEC, e.tag, e.scope, e.kind // RTA_TABLE has room for every table
	if e.onlink {
		binary.NativeEndian.PutUint32(h[8:], unix.RTNH_F_ONLINK)
	}
	return h
}

func (e entry) attributes() ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(unix.RTA_DST, e.to.Addr().AsSlice())
	ae.Uint32(unix.RTA_TABLE, uint32(e.table))
	if e.gateway.IsValid() {
		ae.Bytes(unix.RTA_GATEWAY, e.gateway.AsSlice())
	}
	if e.link != 0 {
		ae.Uint32(unix.RTA_OIF, uint32(e.link))
	}
	if e.metric != 0 {
		ae.Uint32(unix.RTA_PRIORITY, uint32(e.metric))
	}
	return ae.Encode()
}

// String says all by which we tell routes apart, as the kernel tells it.
func (e entry) String() string {
	if e.to.Addr().Is6() && e.metric == 0 {
		e.metric = 1024 // IP6_RT_PRIO_USER of net/ipv6
	}
	text := fmt.Sprintf("route %s of type %d and metric %d in table %d", e.to, e.kind, e.metric, e.table)
	if e.kind != unix.RTN_UNICAST {
		return text
	}
	if e.gateway.IsValid() {
		text += " by gateway " + e.gateway.String()
	}
	return fmt.Sprintf("%s of link %d", text, e.link)
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
