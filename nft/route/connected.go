package route

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Connected lists the prefixes that the machine is connected to by any interface
// but the loopback, and apart those of each of the named ones that exists. Home
// is sorted, without repetitions, and always has fe80::/10 (RFC 4291 section 2.4).
func Connected(lanDevices []string) (home []netip.Prefix, lan map[string][]netip.Prefix, err error) {
	k, err := open()
	if err != nil {
		return nil, nil, fmt.Errorf("listing connected prefixes: %w", err)
	}
	defer k.Close()

	links, err := k.links()
	if err != nil {
		return nil, nil, fmt.Errorf("listing interfaces: %w", err)
	}
	addrs, err := k.addresses(unix.AF_UNSPEC)
	if err != nil {
		return nil, nil, fmt.Errorf("listing addresses: %w", err)
	}
	home, lan = sortOut(names(links), addrs, lanDevices)
	return home, lan, nil
}

// names of the interfaces by index, without the loopback.
func names(links []link) map[int]string {
	names := map[int]string{}
	for _, l := range links {
		if l.flags&unix.IFF_LOOPBACK == 0 {
			names[l.index] = l.name
		}
	}
	return names
}

func sortOut(names map[int]string, addrs []address, lanDevices []string) (home []netip.Prefix, lan map[string][]netip.Prefix) {
	home = []netip.Prefix{netip.MustParsePrefix("fe80::/10")}
	lan = map[string][]netip.Prefix{}
	for _, a := range addrs {
		device, ok := names[a.link]
		if !ok {
			continue
		}
		for _, p := range a.prefixes {
			home = append(home, p)
			if slices.Contains(lanDevices, device) {
				lan[device] = append(lan[device], p)
			}
		}
	}
	slices.SortFunc(home, netip.Prefix.Compare)
	return slices.Compact(home), lan
}
