// Package route makes the kernel deliver diverted packets to the daemon: rules,
// routes, the sysctls that would be in the way, and the flows that end with us.
//
// Every function acts in the network namespace of the calling thread.
package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead/fairlead/nft/mark"
	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// What is ours among the machine's rules and routes.
const (
	Table    = 1000 // the private table that delivers everything locally
	Priority = 900  // of the rule that leads marked packets there; the one before it and the thirteen behind it are ours too
	Tag      = 0xfa // the protocol (rtnetlink(7)) by which Remove knows what it may delete
)

// patience bounds each question to the kernel.
const patience = 5 * time.Second

// Config is what the routes depend on.
type Config struct {
	Fake4, Fake6 netip.Prefix // the fakeip ranges, unreachable for packets that were not diverted
	Interfaces   []Interface
	LAN          map[string][]netip.Prefix // of each LAN device, as Connected gives them
	Router       bool                      // the router's own traffic is diverted
}

// Apply adds the rules and routes of the configuration, as far as the devices
// allow now, and deletes those of an earlier one. What is there already is fine:
// it is called again whenever a link or an address changes. The number of those
// that were not is returned. The loopback interface must be up. A kernel without
// IPv6 gets those of IPv4.
func Apply(c Config) (added int, err error) {
	h, err := open()
	if err != nil {
		return 0, fmt.Errorf("adding routes: %w", err)
	}
	defer h.Close()

	devices, err := listDevices(h)
	if err != nil {
		return 0, fmt.Errorf("adding routes: %w", err)
	}
	if !devices["lo"].up {
		return 0, errors.New("adding routes: the loopback interface is down, and diverted packets are delivered through it (ip link set lo up)")
	}
	var errs []error
	for _, f := range families() {
		n, err := f.apply(h, f.routes(c, devices), f.rules(c))
		added += n
		if f.number == unix.AF_INET6 && isAbsent(err) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("adding routes of %s: %w", f.name, err))
		}
	}
	return added, errors.Join(errs...)
}

// Remove deletes every rule and route of ours, whichever process added them.
func Remove() error {
	h, err := open()
	if err != nil {
		return fmt.Errorf("deleting routes: %w", err)
	}
	defer h.Close()

	var errs []error
	for _, f := range families() {
		if err := f.remove(h); err != nil && !isAbsent(err) {
			errs = append(errs, fmt.Errorf("deleting routes of %s: %w", f.name, err))
		}
	}
	return errors.Join(errs...)
}

func open() (*netlink.Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	if err := h.SetSocketTimeout(patience); err != nil {
		h.Close()
		return nil, fmt.Errorf("bounding a netlink socket: %w", err)
	}
	return h, nil
}

// family is one of the two address families.
type family struct {
	name   string
	number int
	all    *net.IPNet
}

func families() []family {
	return []family{
		{"IPv4", unix.AF_INET, &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}},
		{"IPv6", unix.AF_INET6, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}},
	}
}

func (f family) has(a netip.Addr) bool { return a.IsValid() && a.BitLen() == len(f.all.IP)*8 }

// apply deletes what is not wanted first: a route that moved to another device
// or gateway would be taken for the same. In between its table refuses.
func (f family) apply(h *netlink.Handle, routes []netlink.Route, rules []*netlink.Rule) (added int, err error) {
	unwanted := func(r netlink.Route) bool {
		return !slices.ContainsFunc(routes, func(w netlink.Route) bool { return f.describe(w) == f.describe(r) })
	}
	stale := func(r netlink.Rule) bool {
		return !slices.ContainsFunc(rules, func(w *netlink.Rule) bool { return w.Priority == r.Priority && w.Table == r.Table && w.Mark == r.Mark })
	}
	errs := []error{f.deleteRules(h, stale), f.deleteRoutes(h, unwanted)}
	for _, r := range routes {
		err := h.RouteAdd(&r)
		switch {
		case err == nil:
			added++
		case errors.Is(err, unix.EEXIST), deviceGone(err) && r.Type == unix.RTN_UNICAST:
		default:
			errs = append(errs, fmt.Errorf("adding %s: %w", f.describe(r), err))
		}
	}
	for _, r := range rules {
		err := h.RuleAdd(r)
		switch {
		case err == nil:
			added++
		case errors.Is(err, unix.EEXIST):
		default:
			errs = append(errs, fmt.Errorf("adding rule %d: %w", r.Priority, err))
		}
	}
	return added, errors.Join(errs...)
}

func (f family) remove(h *netlink.Handle) error {
	return errors.Join(
		f.deleteRules(h, func(netlink.Rule) bool { return true }),
		f.deleteRoutes(h, func(netlink.Route) bool { return true }))
}

// deleteRules deletes those of our rules that are chosen.
func (f family) deleteRules(h *netlink.Handle, chosen func(netlink.Rule) bool) error {
	rules, err := list(func() ([]netlink.Rule, error) { return h.RuleList(f.number) })
	if err != nil {
		return fmt.Errorf("listing rules: %w", err)
	}
	var errs []error
	for _, r := range rules {
		if r.Protocol != Tag || r.Mask == nil || *r.Mask != mark.Mask || !chosen(r) {
			continue
		}
		if err := h.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("deleting rule %d: %w", r.Priority, err))
		}
	}
	return errors.Join(errs...)
}

// routes deliver what the rules lead to the private table locally, and keep
// packets for fake addresses from leaving when the nft table is not there.
func (f family) routes(c Config, devices map[string]device) []netlink.Route {
	routes := []netlink.Route{{
		Family: f.number, Table: Table, Protocol: Tag, Dst: f.all,
		Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, LinkIndex: devices["lo"].index,
	}}
	for _, fake := range []netip.Prefix{c.Fake4, c.Fake6} {
		if f.has(fake.Addr()) {
			routes = append(routes, netlink.Route{
				Family: f.number, Table: unix.RT_TABLE_MAIN, Protocol: Tag, Dst: netipx.PrefixIPNet(fake.Masked()),
				Type: unix.RTN_UNREACHABLE,
			})
		}
	}
	for _, i := range c.Interfaces {
		routes = append(routes, f.through(i, c.LAN, devices)...)
	}
	return routes
}

// rules lead packets that the daemon carries to the private table. With
// src_valid_mark (which Tailscale sets) the kernel asks with the packet's mark
// for the way back to its source, too, and would take each source for an address
// of its own: such a question comes from lo, as a packet of our own does, and is
// for the main table. So packets of the router's own need another mark.
func (f family) rules(c Config) []*netlink.Rule {
	mask := mark.Mask
	rule := func(priority int, m uint32, table int, from string) *netlink.Rule {
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table, r.IifName = f.number, priority, table, from
		r.Mark, r.Mask, r.Protocol = m, &mask, Tag
		return r
	}
	rules := []*netlink.Rule{
		rule(Priority-1, mark.Carried, unix.RT_TABLE_MAIN, "lo"),
		rule(Priority, mark.Carried, Table, ""),
	}
	for _, i := range c.Interfaces {
		rules = append(rules, rule(i.priority(), i.mark(), i.table(), ""))
	}
	if c.Router {
		rules = append(rules, rule(Priority+mark.Interfaces, mark.Router, Table, ""))
	}
	return rules
}

// deleteRoutes deletes those of our routes that are chosen.
func (f family) deleteRoutes(h *netlink.Handle, chosen func(netlink.Route) bool) error {
	ours := &netlink.Route{Protocol: Tag, Table: unix.RT_TABLE_UNSPEC}
	routes, err := list(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(f.number, ours, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		if !chosen(r) {
			continue
		}
		if err := h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("deleting %s: %w", f.describe(r), err))
		}
	}
	return errors.Join(errs...)
}

// describe says all by which we tell routes apart, as the kernel tells it.
func (f family) describe(r netlink.Route) string {
	if f.number == unix.AF_INET6 && r.Priority == 0 {
		r.Priority = 1024 // IP6_RT_PRIO_USER of net/ipv6
	}
	text := fmt.Sprintf("route %s of type %d and metric %d in table %d", r.Dst, r.Type, r.Priority, r.Table)
	if r.Type == unix.RTN_UNICAST {
		text += fmt.Sprintf(" by gateway %v of link %d", r.Gw, r.LinkIndex)
	}
	return text
}

// list repeats a question whose answer was cut short by a change meanwhile.
func list[T any](ask func() ([]T, error)) ([]T, error) {
	for deadline := time.Now().Add(patience); ; {
		all, err := ask()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || time.Now().After(deadline) {
			return all, err
		}
	}
}

// isAbsent tells that the kernel has no IPv6, or that it is switched off.
func isAbsent(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES)
}
