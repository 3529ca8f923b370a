package route

import (
	"errors"
	"net/netip"

	"github.com/fairlead/fairlead/nft/mark"
	"golang.org/x/sys/unix"
)

// Interface is a way through a device other than that of the main table, with a
// table of its own.
type Interface struct {
	N        int    // its number, 3 to 15: the part of the mark that is ours
	Device   string // without it, or while it is down, the way is unreachable
	Gateway4 netip.Addr
	Gateway6 netip.Addr // invalid: the link needs none
}

// lastResort is the metric of the route that is taken when no other is there.
const lastResort = 9999

func (i Interface) mark() uint32 {
	m, _ := mark.Interface(i.N - mark.FirstInterface)
	return m
}

func (i Interface) table() int { return Table + i.N }

func (i Interface) priority() int { return Priority + 1 + i.N - mark.FirstInterface }

func (i Interface) gateway(f family) netip.Addr {
	if f.number == unix.AF_INET6 {
		return i.Gateway6
	}
	return i.Gateway4
}

// through is the table of an interface: out by its device and nowhere else. The
// prefixes of the LAN are for those who ask with the mark for the way back: the
// kernel with src_valid_mark, and flow offload.
func (f family) through(i Interface, lan map[string][]netip.Prefix, devices map[string]device) []entry {
	routes := []entry{{to: f.all, table: i.table(), tag: Tag, kind: unix.RTN_UNREACHABLE, metric: lastResort}}
	for name, prefixes := range lan {
		for _, p := range prefixes {
			if f.has(p.Addr()) && !p.Addr().IsLinkLocalUnicast() && devices[name].up {
				routes = append(routes, f.linkRoute(i, p, devices[name]))
			}
		}
	}
	out := devices[i.Device]
	if !out.up || f.number == unix.AF_INET6 && !out.global6 {
		return routes
	}
	route := f.linkRoute(i, f.all, out)
	if g := i.gateway(f); f.has(g) {
		route.gateway, route.scope, route.onlink = g, unix.RT_SCOPE_UNIVERSE, true
	}
	return append(routes, route)
}

func (f family) linkRoute(i Interface, to netip.Prefix, d device) entry {
	route := entry{to: to, table: i.table(), tag: Tag, kind: unix.RTN_UNICAST, link: d.index}
	if f.number == unix.AF_INET {
		route.scope = unix.RT_SCOPE_LINK
	}
	return route
}

// device is what routes need to know of one.
type device struct {
	index   int
	up      bool
	global6 bool // it has an IPv6 address that others can answer
}

func listDevices(k kernel) (map[string]device, error) {
	links, err := k.links()
	if err != nil {
		return nil, err
	}
	addrs, err := k.addresses(unix.AF_INET6)
	if err != nil && !isAbsent(err) {
		return nil, err
	}
	global := map[int]bool{}
	for _, a := range addrs {
		if a.scope == unix.RT_SCOPE_UNIVERSE {
			global[a.link] = true
		}
	}
	devices := map[string]device{}
	for _, l := range links {
		devices[l.name] = device{l.index, l.flags&unix.IFF_UP != 0, global[l.index]}
	}
	return devices, nil
}

// deviceGone tells that a device went away, or down, since it was listed: the
// event that it caused brings us back.
func deviceGone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENETDOWN)
}
