package main

import (
	"net/netip"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/openwrt/ubus"
)

// readDump reads what netifd answers to `network.interface dump`. An interface
// that is down has no l3_device, and its device is what it will be again; one
// like PPPoE is up on another device than it is made on.
func readDump(interfaces ubus.Value) told {
	t := told{networks: networks{}}
	var uplinks []uplink
	for _, i := range interfaces.All() {
		name, device := i.Get("interface").Text(), or(i.Get("l3_device").Text(), i.Get("device").Text())
		if name == "" || len(device) >= unix.IFNAMSIZ {
			continue
		}
		t.networks[name] = nil
		if device != "" {
			t.networks[name] = []string{device}
		}
		if u := readUplink(i, device); u.leads && i.Get("up").Bool() {
			uplinks = append(uplinks, u)
		}
	}
	sort.SliceStable(uplinks, func(i, k int) bool { return uplinks[i].metric < uplinks[k].metric })
	for _, u := range uplinks {
		t.resolvers = append(t.resolvers, u.resolvers...)
	}
	return t
}

// uplink is an interface with its way to everywhere, and its resolvers.
type uplink struct {
	leads     bool // it has a default route
	metric    int64
	resolvers []netip.AddrPort
}

func readUplink(i ubus.Value, device string) uplink {
	u := uplink{metric: i.Get("dns_metric").Int()}
	for _, r := range i.Get("route").All() {
		to, err := netip.ParseAddr(r.Get("target").Text())
		u.leads = u.leads || err == nil && to.IsUnspecified() && r.Get("mask").Int() == 0
	}
	for _, s := range i.Get("dns-server").All() {
		addr, err := netip.ParseAddr(s.Text())
		if err != nil {
			continue
		}
		if addr.IsLinkLocalUnicast() && addr.Is6() && addr.Zone() == "" {
			addr = addr.WithZone(device)
		}
		u.resolvers = append(u.resolvers, netip.AddrPortFrom(addr.Unmap(), portDNS))
	}
	return u
}
