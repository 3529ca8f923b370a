// Package route makes the kernel deliver diverted packets to the daemon: rules,
// routes, the sysctls that would be in the way, and the flows that end with us.
//
// Every function acts in the network namespace of the calling thread.
package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead/fairlead/nft/mark"
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
	k, err := open()
	if err != nil {
		return 0, fmt.Errorf("adding routes: %w", err)
	}
	defer k.Close()

	devices, err := listDevices(k)
	if err != nil {
		return 0, fmt.Errorf("adding routes: %w", err)
	}
	if !devices["lo"].up {
		return 0, errors.New("adding routes: the loopback interface is down, and diverted packets are delivered through it (ip link set lo up)")
	}
	var errs []error
	for _, f := range families() {
		n, err := f.apply(k, f.routes(c, devices), rules(c))
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
	k, err := open()
	if err != nil {
		return fmt.Errorf("deleting routes: %w", err)
	}
	defer k.Close()

	var errs []error
	for _, f := range families() {
		if err := f.remove(k); err != nil && !isAbsent(err) {
			errs = append(errs, fmt.Errorf("deleting routes of %s: %w", f.name, err))
		}
	}
	return errors.Join(errs...)
}

// family is one of the two address families.
type family struct {
	name   string
	number byte // AF_ of linux/socket.h
	all    netip.Prefix
}

func families() []family {
	return []family{
		{"IPv4", unix.AF_INET, netip.PrefixFrom(netip.IPv4Unspecified(), 0)},
		{"IPv6", unix.AF_INET6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)},
	}
}

func (f family) has(a netip.Addr) bool { return a.IsValid() && a.BitLen() == f.all.Addr().BitLen() }

// apply deletes what is not wanted first: a route that moved to another device
// or gateway would be taken for the same. In between its table refuses.
func (f family) apply(k kernel, routes []entry, rules []rule) (added int, err error) {
	unwanted := func(e entry) bool {
		return !slices.ContainsFunc(routes, func(w entry) bool { return w.String() == e.String() })
	}
	stale := func(r rule) bool {
		return !slices.ContainsFunc(rules, func(w rule) bool { return w.priority == r.priority && w.table == r.table && w.mark == r.mark })
	}
	errs := []error{f.deleteRules(k, stale), f.deleteRoutes(k, unwanted)}
	for _, e := range routes {
		err := k.addEntry(e)
		switch {
		case err == nil:
			added++
		case errors.Is(err, unix.EEXIST), deviceGone(err) && e.kind == unix.RTN_UNICAST:
		default:
			errs = append(errs, fmt.Errorf("adding %s: %w", e, err))
		}
	}
	for _, r := range rules {
		err := f.addRule(k, r)
		switch {
		case err == nil:
			added++
		case errors.Is(err, unix.EEXIST):
		default:
			errs = append(errs, fmt.Errorf("adding rule %d: %w", r.priority, err))
		}
	}
	return added, errors.Join(errs...)
}

func (f family) remove(k kernel) error {
	return errors.Join(
		f.deleteRules(k, func(rule) bool { return true }),
		f.deleteRoutes(k, func(entry) bool { return true }))
}

// deleteRules deletes those of our rules that are chosen.
func (f family) deleteRules(k kernel, chosen func(rule) bool) error {
	rules, err := f.listRules(k)
	if err != nil {
		return fmt.Errorf("listing rules: %w", err)
	}
	var errs []error
	for _, r := range rules {
		if !r.isOurs() || !chosen(r) {
			continue
		}
		if err := f.deleteRule(k, r); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("deleting rule %d: %w", r.priority, err))
		}
	}
	return errors.Join(errs...)
}

// routes deliver what the rules lead to the private table locally, and keep
// packets for fake addresses from leaving when the nft table is not there.
func (f family) routes(c Config, devices map[string]device) []entry {
	routes := []entry{{
		to: f.all, table: Table, tag: Tag, kind: unix.RTN_LOCAL, scope: unix.RT_SCOPE_HOST, link: devices["lo"].index,
	}}
	for _, fake := range []netip.Prefix{c.Fake4, c.Fake6} {
		if f.has(fake.Addr()) {
			routes = append(routes, entry{to: fake.Masked(), table: unix.RT_TABLE_MAIN, tag: Tag, kind: unix.RTN_UNREACHABLE})
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
func rules(c Config) []rule {
	lead := func(priority int, m uint32, table int, from string) rule {
		return rule{priority: priority, mark: m, mask: mark.Mask, table: table, from: from, tag: Tag}
	}
	rules := []rule{
		lead(Priority-1, mark.Carried, unix.RT_TABLE_MAIN, "lo"),
		lead(Priority, mark.Carried, Table, ""),
	}
	for _, i := range c.Interfaces {
		rules = append(rules, lead(i.priority(), i.mark(), i.table(), ""))
	}
	if c.Router {
		rules = append(rules, lead(Priority+mark.Interfaces, mark.Router, Table, ""))
	}
	return rules
}

// deleteRoutes deletes those of our routes that are chosen.
func (f family) deleteRoutes(k kernel, chosen func(entry) bool) error {
	routes, err := f.ourEntries(k)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	var errs []error
	for _, e := range routes {
		if !chosen(e) {
			continue
		}
		if err := k.deleteEntry(e); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("deleting %s: %w", e, err))
		}
	}
	return errors.Join(errs...)
}
