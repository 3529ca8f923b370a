package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway"
	"github.com/fairlead/fairlead/gateway/outbound"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/mark"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/dhcp"
	"github.com/fairlead/fairlead/openwrt/lease"
)

// generation is everything that one reading of the configuration leads to. It
// is made without side effects, and never changed.
type generation struct {
	cfg       *config.Config
	networks  networks         // OpenWrt's, with their Linux interfaces
	devices   []string         // Linux interfaces served
	sections  []policy.Section // of clients, with their networks resolved
	zones     []nft.Zone       // what the machine's firewall refuses
	policy    *policy.Policy
	outbounds map[string]gateway.Outbound
	upstreams map[string]*upstream.Upstream
	dnsmasq   *upstream.Upstream // of this machine; nil: it has no DNS
	wan       *wan
}

// resolver asks one upstream for addresses.
type resolver func(ctx context.Context, upstreamName, host string) ([]netip.Addr, error)

// Resolve calls the function: so it is a gateway.Resolver.
func (r resolver) Resolve(ctx context.Context, upstreamName, host string) ([]netip.Addr, error) {
	return r(ctx, upstreamName, host)
}

// through is a resolver that knows which upstream to ask.
type through struct {
	resolve  resolver
	upstream string
}

// LookupHost gives what the upstream says of a host's addresses.
func (t through) LookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	return t.resolve(ctx, t.upstream, host)
}

// machine is what a generation asks of the machine that it is on.
type machine struct {
	netifd  *netifd
	wan     *wan
	resolve resolver // of names that outbounds have to dial; nil: nothing is dialled
	record  *leaks.Record
}

func newMachine(cfg *config.Config, resolve resolver, own func(netip.Addr) bool, log *slog.Logger) *machine {
	n := netifdOf(cfg, log)
	return &machine{netifd: n, wan: newWAN(n.resolvers, own), resolve: resolve, record: new(leaks.Record)}
}

// newGeneration prepares a generation from a valid configuration. Without a
// machine it is one to be looked at, not to run.
func newGeneration(cfg *config.Config, on *machine, log *slog.Logger) (*generation, error) {
	if on == nil {
		on = newMachine(cfg, nil, func(netip.Addr) bool { return false }, log)
	}
	networks, err := on.netifd.networks()
	if err != nil {
		return nil, err
	}
	g := &generation{cfg: cfg, networks: networks, devices: networks.devices(cfg.Devices, cfg.Networks, log), wan: on.wan}
	pcfg := cfg.Policy
	pcfg.Clients = append([]policy.Section(nil), pcfg.Clients...)
	for i := range pcfg.Clients {
		c := &pcfg.Clients[i]
		c.Devices = networks.devices(c.Devices, cfg.ClientNetworks[i], log)
	}
	g.sections, g.policy = pcfg.Clients, policy.New(pcfg)
	g.zones = wallOf(cfg).zones(g, log)
	g.outbounds = newOutbounds(cfg, on)
	g.dnsmasq = newDNSMasq(cfg, g.outbounds["direct"], log)
	g.upstreams, err = newUpstreams(cfg, g.outbounds, on, log)
	return g, err
}

// newOutbounds makes every outbound that flows can be dialled through.
func newOutbounds(cfg *config.Config, on *machine) map[string]gateway.Outbound {
	direct := outbound.NewDirect(mark.Own, through{on.resolve, cfg.Policy.LocalUpstream})
	all := map[string]gateway.Outbound{"direct": direct}
	numbers := interfaceNumbers(cfg)
	for _, o := range cfg.Outbounds {
		switch o.Type {
		case "interface":
			m, _ := mark.Interface(numbers[o.Name] - mark.FirstInterface)
			all[o.Name] = outbound.NewInterface(o.Device, m, through{on.resolve, or(o.Upstream, cfg.Policy.RemoteUpstream)})
		case "socks5":
			bootstrap := outbound.NewBootstrap(bootstrapOf(cfg, o, on.wan), mark.Own)
			bootstrap.Tell(on.record.Bootstrapped)
			all[o.Name] = outbound.NewSOCKS5(o, mark.Own, bootstrap)
		}
	}
	return all
}

// interfaceNumbers numbers the interface outbounds in the order of the file: a
// number is the part of the mark that its flows bear.
func interfaceNumbers(cfg *config.Config) map[string]int {
	numbers := map[string]int{}
	for _, o := range cfg.Outbounds {
		if o.Type == "interface" {
			numbers[o.Name] = mark.FirstInterface + len(numbers)
		}
	}
	return numbers
}

// bootstrapOf gives the servers that resolve a node's name: its own list, else
// the local upstream's.
func bootstrapOf(cfg *config.Config, o outbound.Config, w *wan) func() []netip.AddrPort {
	if len(o.Bootstrap) > 0 {
		return func() []netip.AddrPort { return o.Bootstrap }
	}
	for _, u := range cfg.Upstreams {
		if u.Name == cfg.Policy.LocalUpstream {
			return func() []netip.AddrPort { return bootstrapsOf(u, w) }
		}
	}
	return w.resolvers
}

// bootstrapsOf gives the servers of an upstream that can resolve a node's name, as
// they are now.
func bootstrapsOf(u upstream.Config, w *wan) []netip.AddrPort {
	var list []netip.AddrPort
	for _, s := range u.Servers {
		switch {
		case s.Scheme == "auto":
			list = append(list, w.resolvers()...)
		case s.IsBootstrap():
			list = append(list, s.Addr)
		}
	}
	return list
}

// newUpstreams makes every upstream, and `auto`, each on its outbound.
func newUpstreams(cfg *config.Config, outbounds map[string]gateway.Outbound, on *machine, log *slog.Logger) (map[string]*upstream.Upstream, error) {
	declared := append([]upstream.Config{{
		Name: "auto", Outbound: "direct", Servers: []upstream.Server{{Scheme: "auto"}},
	}}, cfg.Upstreams...)
	all := make(map[string]*upstream.Upstream, len(declared))
	for _, u := range declared {
		out, ok := outbounds[u.Outbound]
		if !ok {
			return nil, fmt.Errorf("preparing upstream %s: outbound %s cannot carry questions", u.Name, u.Outbound)
		}
		all[u.Name] = upstream.New(u, out, upstream.Options{
			Log: log, TLS: &tls.Config{Time: notBeforeBuild}, Auto: on.wan.resolvers, BootstrapDialer: outbounds["direct"], Record: on.record,
		})
	}
	return all, nil
}

// namesOf are the files that local names are read from. OpenWrt's configuration
// files are beside ours.
func namesOf(cfg *config.Config) lease.Paths {
	paths := lease.DefaultPaths()
	paths.DHCP = filepath.Join(filepath.Dir(cfg.File), "dhcp")
	return paths
}

// newDNSMasq asks the dnsmasq of this machine, if OpenWrt's configuration says
// that there is one with DNS.
func newDNSMasq(cfg *config.Config, direct upstream.Dialer, log *slog.Logger) *upstream.Upstream {
	c, err := dhcp.Read(namesOf(cfg).DHCP)
	if err != nil || c.Instances == 0 || c.Port == 0 {
		return nil
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), c.Port)
	return upstream.New(upstream.Config{Name: "dnsmasq", Servers: []upstream.Server{{Scheme: "udp", Addr: at}}}, direct, upstream.Options{Log: log})
}

// notBeforeBuild is the time by which certificates are judged. A router without
// a clock of its own starts years in the past, when none is valid yet.
func notBeforeBuild() time.Time { return laterThanBuild(time.Now(), built) }

// laterThanBuild gives the later of a time and the build's, in seconds of Unix.
func laterThanBuild(now time.Time, built string) time.Time {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if at := time.Unix(seconds, 0); err == nil && now.Before(at) {
		return at
	}
	return now
}

// close ends what only this generation used.
func (g *generation) close() {
	for _, u := range g.upstreams {
		u.Close()
	}
	if g.dnsmasq != nil {
		g.dnsmasq.Close()
	}
}

// learns says, by client, whether the kernel keeps a map of its ways: where
// everything leaves directly, there is nothing to keep.
func (g *generation) learns() []bool {
	learns := make([]bool, g.policy.Clients())
	for c := range learns {
		client := policy.Client(c)
		learns[c] = g.policy.Mode(client) != policy.Off && !g.policy.AnyName(client).AllDirect
	}
	return learns
}

// ruleset is the table that carries the policy out.
func (g *generation) ruleset(home []netip.Prefix, names *lease.Book) (*nft.Ruleset, error) {
	c := nft.Config{
		LAN: g.devices, Home: home,
		Fake4: g.cfg.DNS.Fake4, Fake6: g.cfg.DNS.Fake6,
		Closed: g.cfg.Closed, RefuseIPv6: !g.cfg.IPv6, DoHServers: g.cfg.DoHServers,
		Members: g.members(names), Zones: g.zones, Router: g.cfg.Router,
	}
	numbers := interfaceNumbers(g.cfg)
	for _, o := range g.cfg.Outbounds {
		if n, ok := numbers[o.Name]; ok {
			c.Interfaces = append(c.Interfaces, nft.Interface{N: n, Device: o.Device, Masq: o.Masq})
		}
	}
	for client, learns := range g.learns() {
		group := nft.Group{Mode: g.policy.Mode(policy.Client(client)), Rest: nft.RestDirect}
		group.RefuseDoT, group.RefuseDoH = g.cfg.Blocks[client].DoT, g.cfg.Blocks[client].DoH
		if learns {
			group.Rest = nft.RestRelay
			group.Addrs = g.addrs(policy.Client(client), numbers)
		}
		c.Groups = append(c.Groups, group)
	}
	return nft.Build(c)
}

// addrs are the addresses whose way no name can change. What a node carries is
// the daemon's, like all that is not known.
func (g *generation) addrs(client policy.Client, interfaces map[string]int) []nft.AddrWay {
	var all []nft.AddrWay
	for prefix, v := range g.policy.Addrs(client) {
		switch v.Kind {
		case policy.Direct:
			all = append(all, nft.AddrWay{Prefix: prefix, Way: nft.DirectWay})
		case policy.Reject:
			all = append(all, nft.AddrWay{Prefix: prefix, Way: nft.Refuse})
		case policy.Interface:
			all = append(all, nft.AddrWay{Prefix: prefix, Way: nft.InterfaceWay(interfaces[v.Outbound])})
		}
	}
	return all
}

// members says who belongs to which group. A host name stands for the hardware
// addresses that told it.
func (g *generation) members(names *lease.Book) []nft.Members {
	var all []nft.Members
	for i, s := range g.sections {
		m := nft.Members{Group: i + 1, MACs: append([]policy.MAC(nil), s.MACs...), Prefixes: s.Prefixes, Devices: s.Devices}
		for _, host := range s.Hostnames {
			m.MACs = append(m.MACs, names.MACs(host)...)
		}
		all = append(all, m)
	}
	return all
}

// routes are the rules and routes that deliver what the table diverts, and that
// lead the flows of interface outbounds out. Lan are the prefixes of the LAN.
func (g *generation) routes(lan map[string][]netip.Prefix) route.Config {
	c := route.Config{Fake4: g.cfg.DNS.Fake4, Fake6: g.cfg.DNS.Fake6, LAN: lan, Router: g.cfg.Router}
	numbers := interfaceNumbers(g.cfg)
	for _, o := range g.cfg.Outbounds {
		n, ok := numbers[o.Name]
		if !ok {
			continue
		}
		i := route.Interface{N: n, Device: o.Device}
		if o.Gateway.Is4() {
			i.Gateway4 = o.Gateway
		} else {
			i.Gateway6 = o.Gateway
		}
		c.Interfaces = append(c.Interfaces, i)
	}
	return c
}

// waysOut are the devices that interface outbounds leave by.
func (g *generation) waysOut() []string {
	var devices []string
	for _, o := range g.cfg.Outbounds {
		if o.Type == "interface" {
			devices = append(devices, o.Device)
		}
	}
	return devices
}

// unserved are the interfaces of client sections that are not served themselves.
func (g *generation) unserved() []string {
	var devices []string
	for _, s := range g.sections {
		devices = append(devices, s.Devices...)
	}
	slices.Sort(devices)
	return slices.DeleteFunc(slices.Compact(devices), func(d string) bool { return slices.Contains(g.devices, d) })
}

func (g *generation) dnsPlan() *dnsrouter.Plan {
	ups := make(map[string]dnsrouter.Exchanger, len(g.upstreams))
	for name, u := range g.upstreams {
		ups[name] = u
	}
	interfaces := map[string]dnsrouter.Way{}
	for name, n := range interfaceNumbers(g.cfg) {
		interfaces[name] = dnsrouter.Way(n)
	}
	return &dnsrouter.Plan{
		Interfaces: interfaces, Config: g.cfg.DNS, Policy: g.policy, LocalUpstream: g.cfg.Policy.LocalUpstream,
		Upstreams: ups, Learns: g.learns(), Plain: ups["auto"],
	}
}

func (g *generation) gatewayPlan() *gateway.Plan {
	return &gateway.Plan{Policy: g.policy, Sniff: g.cfg.Policy.Sniff, Strict: g.cfg.Strict, Outbounds: g.outbounds}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
