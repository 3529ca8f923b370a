package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/mark"
	"golang.org/x/sys/unix"
)

// Names that more than one place uses.
const (
	aliveSet     = "alive"
	lanSet       = "lan"
	homeSet      = "home"      // and its family
	fakeWaySet   = "fakeway"   // and its family
	fakeRealSet  = "fakereal"  // and its family
	fakeBlockSet = "fakeblock" // and its family
	handbackSet  = "handback"  // and its family
	dohSet       = "doh"       // and its family

	divertChain = "divert"
	relayChain  = "relay"
	refuseChain = "refuse"
	directChain = "direct"
)

const (
	dnsPort = 53  // RFC 1035 section 4.2
	dotPort = 853 // RFC 7858 section 3.1
	dohPort = 443 // RFC 8484 section 5.1: that of HTTPS
)

// handbackLifetime is how long a UDP flow that was handed back to the kernel may
// pause without being diverted again.
const handbackLifetime = 10 * time.Minute

// waysName is of the chain that knows the ways of a group's addresses.
func waysName(group int) string { return fmt.Sprintf("ways_g%d", group) }

func groupName(group int) string { return fmt.Sprintf("g%d", group) }

func memberName(i int, kind string) string { return fmt.Sprintf("m%d_%s", i, kind) }

// Build makes the ruleset that the configuration wants. It reads and changes
// nothing else. The error joins everything that is wrong with the configuration.
func Build(c Config) (*Ruleset, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("building table %s: %w", TableName, err)
	}
	r := &Ruleset{interfaces: slices.Clone(c.Interfaces), people: len(c.Members)}
	for _, g := range c.Groups {
		r.ways = append(r.ways, g.hasWays())
	}
	r.sets = c.sets()
	r.chains = c.chains()
	r.stamp()
	return r, nil
}

func (c Config) validate() error {
	var errs []error
	if !c.Fake4.IsValid() || !c.Fake4.Addr().Is4() {
		errs = append(errs, fmt.Errorf("fake range %q is no IPv4 prefix", c.Fake4))
	}
	if !c.Fake6.IsValid() || !c.Fake6.Addr().Is6() || c.Fake6.Addr().Is4In6() {
		errs = append(errs, fmt.Errorf("fake range %q is no IPv6 prefix", c.Fake6))
	}
	if len(c.Groups) == 0 {
		errs = append(errs, errors.New("there is no group for clients that no section matches"))
	}
	errs = append(errs, validDevices(c.LAN), validPrefixes(c.Home), validPrefixes(c.DoHServers), validInterfaces(c.Interfaces))
	for i, m := range c.Members {
		if m.Group < 0 || m.Group >= len(c.Groups) {
			errs = append(errs, fmt.Errorf("members %d belong to group %d of %d", i, m.Group, len(c.Groups)))
		}
		errs = append(errs, validDevices(m.Devices), validPrefixes(m.Prefixes))
	}
	for i, g := range c.Groups {
		if err := validAddrs(g.Addrs, c.Interfaces); err != nil {
			errs = append(errs, fmt.Errorf("group %d: %w", i, err))
		}
	}
	return errors.Join(append(errs, validZones(c.Zones), c.validRouter())...)
}

func (c Config) validRouter() error {
	if !c.Router {
		return nil
	}
	for _, i := range c.Interfaces {
		if i.mark() == mark.Router {
			return fmt.Errorf("interface %s has the number %d, which the router's own traffic needs", i.Device, i.N)
		}
	}
	if c.RouterGroup < 0 || c.RouterGroup >= len(c.Groups) {
		return fmt.Errorf("the router belongs to group %d of %d", c.RouterGroup, len(c.Groups))
	}
	return nil
}

func validInterfaces(interfaces []Interface) error {
	var errs []error
	seen := map[int]bool{}
	for _, i := range interfaces {
		if i.mark() == 0 || seen[i.N] {
			errs = append(errs, fmt.Errorf("interface %s cannot have the number %d", i.Device, i.N))
		}
		seen[i.N] = true
		errs = append(errs, validDevices([]string{i.Device}))
	}
	return errors.Join(errs...)
}

// validDevices keeps out what the kernel would cut off or nft take as a pattern.
func validDevices(names []string) error {
	var errs []error
	for _, n := range names {
		if n == "" || len(n) >= unix.IFNAMSIZ || strings.ContainsAny(n, "*\"\\/ \t\n") {
			errs = append(errs, fmt.Errorf("%q is no name of an interface", n))
		}
	}
	return errors.Join(errs...)
}

func validPrefixes(prefixes []netip.Prefix) error {
	var errs []error
	for _, p := range prefixes {
		if !p.IsValid() || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("%q is no prefix", p))
		}
	}
	return errors.Join(errs...)
}

// diverts tells whether flows of the group are judged at all.
func (g Group) diverts() bool { return g.Mode != policy.Off }

// hasWays tells whether names can teach addresses a way of their own in the
// group: where everything goes directly there is nothing to except from it.
func (g Group) hasWays() bool { return g.diverts() && g.Rest == RestRelay }

// asksAddresses tells whether the way of a flow depends on its address at all.
func (g Group) asksAddresses() bool {
	return g.diverts() && (g.Rest == RestRelay || len(g.Addrs) > 0)
}

func (c Config) sets() []set {
	sets := []set{
		{name: aliveSet, key: []datatype{protoFamily()}, timeout: true, dynamic: c.divertsRouter()}, // each reload beats
		{name: lanSet, key: []datatype{interfaceName()}, elements: deviceElements(c.LAN)},
	}
	for _, f := range families() {
		sets = append(sets,
			set{name: homeSet + f.suffix(), key: []datatype{f.datatype()}, interval: true, elements: prefixElements(f, c.Home)},
			set{name: handbackSet + f.suffix(), key: []datatype{f.datatype(), inetService(), f.datatype(), inetService()},
				timeout: true, lifetime: handbackLifetime, content: fromTraffic})
		sets = append(sets, c.fakeSets(f)...)
		if slices.ContainsFunc(c.Groups, func(g Group) bool { return g.RefuseDoH }) {
			sets = append(sets, set{name: dohSet + f.suffix(), key: []datatype{f.datatype()}, interval: true, elements: prefixElements(f, c.DoHServers)})
		}
	}
	for i, g := range c.Groups {
		for _, f := range families() {
			if g.hasWays() {
				sets = append(sets, c.waySets(f, i)...)
			}
		}
	}
	for _, g := range c.Groups {
		for _, f := range families() {
			s, ok := g.addressMap(f)
			if shared := slices.ContainsFunc(sets, func(o set) bool { return o.name == s.name }); ok && !shared {
				sets = append(sets, s)
			}
		}
	}
	for i, m := range c.Members {
		sets = append(sets, m.sets(i)...)
	}
	return append(sets, c.zoneSets()...)
}

func (c Config) fakeSets(f family) []set {
	var sets []set
	for _, w := range standable(c.Interfaces) {
		s := waySet(fakeWayName(f, w), f, w, c.Interfaces)
		s.content = fromFakes
		sets = append(sets, s)
	}
	sets = append(sets, blockSet(f))
	if len(c.Interfaces) > 0 {
		sets = append(sets, set{name: fakeRealSet + f.suffix(), key: []datatype{f.datatype()}, values: new(f.datatype()), content: fromTraffic})
	}
	return sets
}

func (c Config) waySets(f family, group int) []set {
	var sets []set
	for _, w := range learnable(c.Interfaces) {
		s := waySet(wayName(f, group, w), f, w, c.Interfaces)
		s.timeout, s.content = true, fromTraffic
		sets = append(sets, s)
	}
	return sets
}

func (m Members) sets(i int) []set {
	sets := []set{{name: memberName(i, "mac"), key: []datatype{etherAddr()}, elements: macElements(m.MACs)}}
	for _, f := range families() {
		sets = append(sets, set{name: memberName(i, f.suffix()), key: []datatype{f.datatype()}, interval: true, elements: prefixElements(f, m.Prefixes)})
	}
	if len(m.Devices) > 0 {
		sets = append(sets, set{name: memberName(i, "if"), key: []datatype{interfaceName()}, elements: deviceElements(m.Devices)})
	}
	return sets
}

// chains in the order of reading: verdicts, what the daemon carries, groups,
// the first packet of a flow, hooks.
func (c Config) chains() []chain {
	chains := []chain{
		{name: directChain, rules: rules(line(remember{mark.Own}, accept()))},
		{name: "taken", rules: rules(line(remember{mark.Carried}, setMark{mark.Carried}, accept()))},
		{name: refuseChain, rules: rules(line(is{l4proto(), tcp()}, reset{}), line(unreachable{}))},
		{name: relayChain, rules: c.relay()},
		{name: "relayed", rules: relayed()},
		{name: "dns", rules: c.dns()},
		{name: "fake", rules: c.fake()},
	}
	for _, i := range c.Interfaces {
		chains = append(chains, i.chains()...)
	}
	for i, g := range c.Groups {
		if g.asksAddresses() {
			chains = append(chains, chain{name: waysName(i), rules: c.ways(i, g)})
		}
		chains = append(chains, chain{name: groupName(i), rules: c.group(i, g)})
	}
	chains = append(chains,
		chain{name: "clients", rules: c.clients()},
		chain{name: "classify", rules: c.classify()})
	if c.divertsRouter() {
		chains = append(chains, chain{name: "looped", rules: c.looped()}, chain{name: "outside", rules: outside()})
	}
	chains = append(chains, c.zoneChains()...)
	chains = append(chains,
		chain{name: divertChain, hook: atPrerouting(), rules: c.divert()},
		chain{name: "spoof", rules: spoof()},
		chain{name: "out", hook: atOutput(), rules: out()})
	if len(c.Interfaces) > 0 {
		chains = append(chains,
			chain{name: "fakenat", hook: beforeDNAT(), rules: c.fakenat()},
			chain{name: "post", hook: beforeSNAT(), rules: c.post()})
	}
	if c.divertsRouter() {
		chains = append(chains, c.routerChains()...)
	}
	return chains
}

// atPrerouting is behind every DNAT: only there do port forwards show.
func atPrerouting() *hook {
	return &hook{"filter", "prerouting", unix.NF_INET_PRE_ROUTING, "dstnat + 1", -100 + 1} // NF_IP_PRI_NAT_DST
}

func atOutput() *hook {
	return &hook{"filter", "output", unix.NF_INET_LOCAL_OUT, "mangle", -150} // NF_IP_PRI_MANGLE
}

// beforeDNAT is before the port forwards of others.
func beforeDNAT() *hook {
	return &hook{"nat", "prerouting", unix.NF_INET_PRE_ROUTING, "dstnat - 5", -100 - 5} // NF_IP_PRI_NAT_DST
}

func beforeSNAT() *hook {
	return &hook{"nat", "postrouting", unix.NF_INET_POST_ROUTING, "srcnat - 5", 100 - 5} // NF_IP_PRI_NAT_SRC
}
