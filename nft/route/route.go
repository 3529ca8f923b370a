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
	Priority = 900  // of the rule that leads marked packets there; the one before it is ours too
	Tag      = 0xfa // the protocol (rtnetlink(7)) by which Remove knows what it may delete
)

// patience bounds each question to the kernel.
const patience = 5 * time.Second

// Config is what the routes depend on.
type Config struct {
	Fake4, Fake6 netip.Prefix // the fakeip ranges, unreachable for packets that were not diverted
}

// Apply adds the rules and routes of the configuration and deletes those of an
// earlier one. What is there already is fine. The loopback interface must be up.
// A kernel without IPv6 gets those of IPv4.
func Apply(c Config) error {
	h, err := open()
	if err != nil {
		return fmt.Errorf("adding routes: %w", err)
	}
	defer h.Close()

	lo, err := loopback(h)
	if err != nil {
		return fmt.Errorf("adding routes: %w", err)
	}
	for _, f := range families(c) {
		err := f.apply(h, lo)
		if f.number == unix.AF_INET6 && isAbsent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("adding routes of %s: %w", f.name, err)
		}
	}
	return nil
}

// Remove deletes every rule and route of ours, whichever process added them.
func Remove() error {
	h, err := open()
	if err != nil {
		return fmt.Errorf("deleting routes: %w", err)
	}
	defer h.Close()

	var errs []error
	for _, f := range families(Config{}) {
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

func loopback(h *netlink.Handle) (netlink.Link, error) {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("finding the loopback interface: %w", err)
	}
	if lo.Attrs().Flags&net.FlagUp == 0 {
		return nil, errors.New("the loopback interface is down, and diverted packets are delivered through it (ip link set lo up)")
	}
	return lo, nil
}

// family is what one address family needs.
type family struct {
	name   string
	number int
	all    *net.IPNet
	fake   netip.Prefix // invalid: none
}

func families(c Config) []family {
	return []family{
		{"IPv4", unix.AF_INET, &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, c.Fake4},
		{"IPv6", unix.AF_INET6, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, c.Fake6},
	}
}

func (f family) apply(h *netlink.Handle, lo netlink.Link) error {
	wanted := f.routes(lo)
	for _, r := range wanted {
		if err := h.RouteAdd(&r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("adding %s: %w", describe(r), err)
		}
	}
	for _, r := range f.rules() {
		if err := h.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("adding rule %d: %w", r.Priority, err)
		}
	}
	return f.deleteRoutes(h, func(r netlink.Route) bool {
		return !slices.ContainsFunc(wanted, func(w netlink.Route) bool { return describe(w) == describe(r) })
	})
}

func (f family) remove(h *netlink.Handle) error {
	rules, err := list(func() ([]netlink.Rule, error) { return h.RuleList(f.number) })
	if err != nil {
		return fmt.Errorf("listing rules: %w", err)
	}
	var errs []error
	for _, r := range rules {
		if r.Protocol != Tag || r.Mask == nil || *r.Mask != mark.Mask {
			continue
		}
		if err := h.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("deleting rule %d: %w", r.Priority, err))
		}
	}
	errs = append(errs, f.deleteRoutes(h, func(netlink.Route) bool { return true }))
	return errors.Join(errs...)
}

// routes deliver what the rules lead to the private table locally, and keep
// packets for fake addresses from leaving when the nft table is not there.
func (f family) routes(lo netlink.Link) []netlink.Route {
	routes := []netlink.Route{{
		Family: f.number, Table: Table, Protocol: Tag, Dst: f.all,
		Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, LinkIndex: lo.Attrs().Index,
	}}
	if f.fake.IsValid() {
		routes = append(routes, netlink.Route{
			Family: f.number, Table: unix.RT_TABLE_MAIN, Protocol: Tag, Dst: netipx.PrefixIPNet(f.fake.Masked()),
			Type: unix.RTN_UNREACHABLE,
		})
	}
	return routes
}

// rules lead packets that the daemon carries to the private table. With
// src_valid_mark (which Tailscale sets) the kernel asks with the packet's mark
// for the way back to its source, too, and would take each source for an address
// of its own: such a question comes from lo, as a packet of our own does, and is
// for the main table.
func (f family) rules() []*netlink.Rule {
	mask := mark.Mask
	rule := func(priority, table int, from string) *netlink.Rule {
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table, r.IifName = f.number, priority, table, from
		r.Mark, r.Mask, r.Protocol = mark.Carried, &mask, Tag
		return r
	}
	return []*netlink.Rule{
		rule(Priority-1, unix.RT_TABLE_MAIN, "lo"),
		rule(Priority, Table, ""),
	}
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
			errs = append(errs, fmt.Errorf("deleting %s: %w", describe(r), err))
		}
	}
	return errors.Join(errs...)
}

func describe(r netlink.Route) string {
	return fmt.Sprintf("route %s of type %d in table %d", r.Dst, r.Type, r.Table)
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
