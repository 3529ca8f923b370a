package route

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// Connected lists the prefixes that the machine is connected to by any interface
// but the loopback, and apart those of each of the named ones that exists. Home
// is sorted, without repetitions, and always has fe80::/10 (RFC 4291 section 2.4).
func Connected(lanDevices []string) (home []netip.Prefix, lan map[string][]netip.Prefix, err error) {
	h, err := open()
	if err != nil {
		return nil, nil, fmt.Errorf("listing connected prefixes: %w", err)
	}
	defer h.Close()

	links, err := list(h.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("listing interfaces: %w", err)
	}
	addrs, err := list(func() ([]netlink.Addr, error) { return h.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return nil, nil, fmt.Errorf("listing addresses: %w", err)
	}
	home, lan = sortOut(names(links), addrs, lanDevices)
	return home, lan, nil
}

// names of the interfaces by index, without the loopback.
func names(links []netlink.Link) map[int]string {
	names := map[int]string{}
	for _, l := range links {
		if l.Attrs().Flags&net.FlagLoopback == 0 {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	return names
}

func sortOut(names map[int]string, addrs []netlink.Addr, lanDevices []string) (home []netip.Prefix, lan map[string][]netip.Prefix) {
	home = []netip.Prefix{netip.MustParsePrefix("fe80::/10")}
	lan = map[string][]netip.Prefix{}
	for _, a := range addrs {
		device, ok := names[a.LinkIndex]
		if !ok {
			continue
		}
		for _, p := range prefixes(a) {
			home = append(home, p)
			if slices.Contains(lanDevices, device) {
				lan[device] = append(lan[device], p)
			}
		}
	}
	slices.SortFunc(home, netip.Prefix.Compare)
	return slices.Compact(home), lan
}

// prefixes of an address: its network, and that of the peer of a point-to-point link.
func prefixes(a netlink.Addr) []netip.Prefix {
	var all []netip.Prefix
	for _, n := range []*net.IPNet{a.IPNet, a.Peer} {
		if n == nil {
			continue
		}
		if p, ok := netipx.FromStdIPNet(n); ok {
			all = append(all, p.Masked())
		}
	}
	return all
}
