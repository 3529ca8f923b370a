package route

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// link is an interface.
type link struct {
	index int
	name  string
	flags uint32 // IFF_ of linux/if.h
}

func (k kernel) links() ([]link, error) {
	return dump(k, unix.RTM_GETLINK, unix.AF_UNSPEC, unix.SizeofIfInfomsg, parseLink)
}

// parseLink reads struct ifinfomsg of linux/rtnetlink.h.
func parseLink(header []byte, attrs *netlink.AttributeDecoder) (link, error) {
	l := link{index: int(binary.NativeEndian.Uint32(header[4:])), flags: binary.NativeEndian.Uint32(header[8:])}
	for attrs.Next() {
		if attrs.Type() == unix.IFLA_IFNAME {
			l.name = attrs.String()
		}
	}
	return l, nil
}

// address is one of an interface.
type address struct {
	link     int
	scope    byte           // RT_SCOPE_ of linux/rtnetlink.h
	prefixes []netip.Prefix // its network, or itself and that of the peer
}

func (k kernel) addresses(family byte) ([]address, error) {
	return dump(k, unix.RTM_GETADDR, family, unix.SizeofIfAddrmsg, parseAddress)
}

// parseAddress reads struct ifaddrmsg of linux/if_addr.h. IFA_ADDRESS is the peer's
// where there is one; then IFA_LOCAL is our own, and has no network.
func parseAddress(header []byte, attrs *netlink.AttributeDecoder) (address, error) {
	a := address{link: int(binary.NativeEndian.Uint32(header[4:])), scope: header[3]}
	var local, peer netip.Addr
	for attrs.Next() {
		switch attrs.Type() {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(attrs.Bytes())
		case unix.IFA_ADDRESS:
			peer, _ = netip.AddrFromSlice(attrs.Bytes())
		}
	}
	if local.IsValid() && local != peer {
		a.prefixes = append(a.prefixes, netip.PrefixFrom(local, local.BitLen()))
	}
	if p, err := peer.Prefix(int(header[1])); err == nil && peer.IsValid() {
		a.prefixes = append(a.prefixes, p)
	}
	return a, nil
}
