package policy_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

// The naive model: rules as plain lists, matched by loops, and three-valued
// judgement by trying every value that an unknown field could have.

// world is a random Config and what its sets were made of.
type world struct {
	config policy.Config
	sets   map[*policy.Set]entries
}

type entries struct {
	patterns []policy.Pattern
	prefixes []netip.Prefix
}

// The values of flows. Each list has one that every condition below holds for
// and one that it does not, and the zero value for what stays unknown.
var (
	hosts     = []string{"", "a.cn", "b.a.cn", "xa.cn", "cn", "ads.example", "m.ads.example", "plain.example", "nowhere.test"}
	addresses = []netip.Addr{{}, addr("192.0.2.1"), addr("192.0.2.200"), addr("2001:db8::1"), addr("2001:db8:1::1"), addr("203.0.113.9")}
	answers   = [][]netip.Addr{nil, {}, addrs("192.0.2.1"), addrs("192.0.2.200", "2001:db8:1::1"), addrs("203.0.113.9", "2001:db8::1"), addrs("203.0.113.9")}
	portsOf   = []uint16{0, 53, 443, 8443, 9000}
	protosOf  = []policy.Proto{0, policy.TCP, policy.UDP}
	sniffed   = []policy.Protocol{0, policy.TLS, policy.QUIC, policy.BitTorrent}
)

func randomWorld(t *testing.T, r *rand.Rand) world {
	w := world{sets: map[*policy.Set]entries{}}
	outbounds := []string{"direct", "reject", "jp", "us", "wg"}
	w.config = policy.Config{
		Default:        pick(r, outbounds),
		Sniff:          r.IntN(2) == 0,
		Clients:        []policy.Section{{Name: "tv", Outbound: pick(r, append(outbounds, ""))}, {Name: "pc"}},
		Outbounds:      []policy.Outbound{{Name: "jp", Kind: policy.Node, Upstream: "jpdns"}, {Name: "us", Kind: policy.Node}, {Name: "wg", Kind: policy.Interface}},
		LocalUpstream:  "isp",
		RemoteUpstream: "remote",
	}
	for i := range r.IntN(5) {
		w.config.Rules = append(w.config.Rules, w.randomRule(t, r, string(rune('A'+i)), outbounds))
	}
	return w
}

func (w world) randomRule(t *testing.T, r *rand.Rand, name string, outbounds []string) policy.Rule {
	rule := policy.Rule{Name: name, Outbound: pick(r, outbounds), Resolve: r.IntN(3) == 0}
	rule.Clients = some(r, []string{"tv", "pc"})
	rule.Ports = some(r, []policy.PortRange{{First: 443, Last: 443}, {First: 8000, Last: 9000}, {First: 1, Last: 65535}})
	if r.IntN(3) == 0 {
		rule.Protos = pick(r, []policy.ProtoSet{policy.SetTCP, policy.SetUDP, policy.SetTCP | policy.SetUDP})
	}
	if r.IntN(3) == 0 {
		rule.Protocols = pick(r, []policy.ProtocolSet{policy.TLS.Set(), policy.QUIC.Set(), policy.BitTorrent.Set() | policy.QUIC.Set()})
	}
	if r.IntN(2) == 0 {
		rule.Domains = randomPatterns(t, r)
	}
	if r.IntN(3) == 0 {
		rule.Prefixes = randomPrefixes(r)
	}
	if r.IntN(4) == 0 {
		rule.Sets = append(rule.Sets, w.randomSet(t, r))
	}
	return rule
}

func (w world) randomSet(t *testing.T, r *rand.Rand) *policy.Set {
	e := entries{patterns: randomPatterns(t, r), prefixes: randomPrefixes(r)}
	var text strings.Builder
	for _, p := range e.patterns {
		text.WriteString(p.String() + "\n")
	}
	for _, p := range e.prefixes {
		text.WriteString(p.String() + "\n")
	}
	set := parseSet(t, text.String())
	w.sets[set] = e
	return set
}

func randomPatterns(t *testing.T, r *rand.Rand) []policy.Pattern {
	return patterns(t, some(r, []string{"cn", "a.cn", "full:a.cn", "full:cn", "keyword:ads", "keyword:a.c", `regexp:^[a-m]\.`, "example", "m.ads.example"})...)
}

func randomPrefixes(r *rand.Rand) []netip.Prefix {
	return some(r, prefixes("192.0.2.0/25", "192.0.2.0/24", "192.0.2.128/25", "2001:db8::/48", "2001:db8::/32", "0.0.0.0/0", "::/0"))
}

func (w world) randomFlow(r *rand.Rand) policy.Flow {
	return policy.Flow{
		Client:   policy.Client(r.IntN(3)),
		Host:     pick(r, hosts),
		Addr:     pick(r, addresses),
		Resolved: pick(r, answers),
		Port:     pick(r, portsOf),
		Proto:    pick(r, protosOf),
		Protocol: pick(r, sniffed),
	}
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// some picks none to three of the list, mostly few.
func some[T any](r *rand.Rand, list []T) []T {
	var picked []T
	for range r.IntN(4) * r.IntN(2) {
		picked = append(picked, pick(r, list))
	}
	return picked
}

// outcome is what the model says of a rule and a flow known completely.
type outcome int

const (
	misses outcome = iota
	needsAddress
	matches
)

func (w world) match(rule policy.Rule, f policy.Flow) outcome {
	if !w.conditionsHold(rule, f) {
		return misses
	}
	return w.target(rule, f)
}

func (w world) conditionsHold(rule policy.Rule, f policy.Flow) bool {
	names := []string{"default", "tv", "pc"}
	inRange := func(p policy.PortRange) bool { return f.Port != 0 && p.First <= f.Port && f.Port <= p.Last }
	return (len(rule.Clients) == 0 || slices.Contains(rule.Clients, names[f.Client])) &&
		(len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, inRange)) &&
		(rule.Protos == 0 || f.Proto == policy.TCP && rule.Protos&policy.SetTCP != 0 || f.Proto == policy.UDP && rule.Protos&policy.SetUDP != 0) &&
		(rule.Protocols == 0 || f.Protocol != 0 && rule.Protocols&(1<<f.Protocol) != 0)
}

func (w world) target(rule policy.Rule, f policy.Flow) outcome {
	if len(rule.Domains)+len(rule.Sets)+len(rule.Prefixes) == 0 {
		return matches
	}
	ps, nets := slices.Clone(rule.Domains), slices.Clone(rule.Prefixes)
	for _, s := range rule.Sets {
		ps, nets = append(ps, w.sets[s].patterns...), append(nets, w.sets[s].prefixes...)
	}
	within := func(a netip.Addr) bool {
		return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case slices.ContainsFunc(ps, func(p policy.Pattern) bool { return p.Match(f.Host) }):
		return matches
	case within(f.Addr):
		return matches
	case !rule.Resolve || len(nets) == 0:
		return misses
	case f.Resolved != nil && slices.ContainsFunc(f.Resolved, within):
		return matches
	case f.Resolved == nil && f.Host != "":
		return needsAddress
	}
	return misses
}

func (w world) verdict(rule, outbound string) policy.Verdict {
	kinds := map[string]policy.Kind{"direct": policy.Direct, "reject": policy.Reject, "jp": policy.Node, "us": policy.Node, "wg": policy.Interface}
	upstreams := map[string]string{"direct": "isp", "reject": "", "jp": "jpdns", "us": "remote", "wg": "remote"}
	return policy.Verdict{Outbound: outbound, Kind: kinds[outbound], Rule: rule, Upstream: upstreams[outbound]}
}

func (w world) rest(c policy.Client) policy.Verdict {
	if c > 0 && w.config.Clients[c-1].Outbound != "" {
		return w.verdict("default", w.config.Clients[c-1].Outbound)
	}
	return w.verdict("default", w.config.Default)
}

func (w world) decide(f policy.Flow) policy.Verdict {
	for _, rule := range w.config.Rules {
		switch w.match(rule, f) {
		case matches:
			return w.verdict(rule.Name, rule.Outbound)
		case needsAddress:
			return policy.Verdict{Kind: policy.Reject, Rule: rule.Name, Upstream: "remote", NeedsAddr: true}
		}
	}
	return w.rest(f.Client)
}

// judge tries every rule with everything that the unknown could turn out to be.
func (w world) judge(f policy.Flow, u policy.Unknown) policy.Ways {
	var ways []policy.Verdict
	first, needsAddr := w.rest(f.Client), false
	for _, rule := range w.config.Rules {
		found := map[outcome]bool{}
		for _, c := range completions(f, u) {
			found[w.match(rule, c)] = true
		}
		needsAddr = needsAddr || found[needsAddress]
		if found[matches] || found[needsAddress] {
			ways = append(ways, w.verdict(rule.Name, rule.Outbound))
		}
		if len(found) == 1 && found[matches] {
			first = w.verdict(rule.Name, rule.Outbound)
			break
		}
	}
	return summary(append(ways, first), first, needsAddr)
}

func summary(ways []policy.Verdict, first policy.Verdict, needsAddr bool) policy.Ways {
	every := func(k policy.Kind) bool {
		return !slices.ContainsFunc(ways, func(v policy.Verdict) bool { return v.Kind != k })
	}
	s := policy.Ways{First: first, NeedsAddr: needsAddr, AllDirect: every(policy.Direct), AllReject: every(policy.Reject)}
	s.Open = slices.ContainsFunc(ways, func(v policy.Verdict) bool { return v.Outbound != ways[0].Outbound })
	proxied := slices.IndexFunc(ways, func(v policy.Verdict) bool { return v.Kind != policy.Direct && v.Kind != policy.Reject })
	switch {
	case !s.Open:
		s.Upstream = first.Upstream
	case proxied >= 0 && !needsAddr:
		s.Upstream = ways[proxied].Upstream
	default:
		s.Upstream = "remote"
	}
	return s
}

// completions are all flows that a flow could turn out to be.
func completions(f policy.Flow, u policy.Unknown) []policy.Flow {
	flows := []policy.Flow{f}
	flows = vary(flows, u&policy.HostUnknown != 0, hosts, func(f *policy.Flow, v string) { f.Host = v })
	flows = vary(flows, u&policy.AddrUnknown != 0, addresses, func(f *policy.Flow, v netip.Addr) { f.Addr = v })
	flows = vary(flows, u&policy.PortUnknown != 0, portsOf, func(f *policy.Flow, v uint16) { f.Port = v })
	flows = vary(flows, u&policy.ProtoUnknown != 0, protosOf, func(f *policy.Flow, v policy.Proto) { f.Proto = v })
	return vary(flows, u&policy.ProtocolUnknown != 0, sniffed, func(f *policy.Flow, v policy.Protocol) { f.Protocol = v })
}

func vary[T any](flows []policy.Flow, unknown bool, values []T, set func(*policy.Flow, T)) []policy.Flow {
	if !unknown {
		return flows
	}
	var varied []policy.Flow
	for _, f := range flows {
		for _, v := range values {
			set(&f, v)
			varied = append(varied, f)
		}
	}
	return varied
}

func TestDecideAgreesWithTheNaiveModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		w := randomWorld(t, r)
		p := policy.New(w.config)
		for range 5 {
			f := w.randomFlow(r)
			if got, want := p.Decide(f), w.decide(f); got != want {
				t.Fatalf("Decide(%+v)\n got %+v\nwant %+v\nrules %+v", f, got, want, w.config.Rules)
			}
		}
	}
}

func TestJudgeAgreesWithTheNaiveModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		w := randomWorld(t, r)
		p := policy.New(w.config)
		for range 4 {
			f, u := w.randomFlow(r), policy.Unknown(r.IntN(32))&policy.Unknown(r.IntN(32))
			if got, want := p.Judge(f, u), w.judge(f, u); got != want {
				t.Fatalf("Judge(%+v, %05b)\n got %+v\nwant %+v\nrules %+v", f, u, got, want, w.config.Rules)
			}
		}
	}
}

func TestWhateverAFlowTurnsOutToBeItGoesOneOfTheWaysJudged(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 10_000 {
		w := randomWorld(t, r)
		p := policy.New(w.config)
		f, u := w.randomFlow(r), policy.Unknown(r.IntN(32))
		ways := p.Judge(f, u)
		for range 20 {
			c := w.complete(r, f, u)
			v := p.Decide(c)
			if broken := breach(ways, v); broken != "" {
				t.Fatalf("%s\nJudge(%+v, %05b) = %+v\nDecide(%+v) = %+v\nrules %+v", broken, f, u, ways, c, v, w.config.Rules)
			}
		}
	}
}

// complete is one flow that a flow could turn out to be.
func (w world) complete(r *rand.Rand, f policy.Flow, u policy.Unknown) policy.Flow {
	other := w.randomFlow(r)
	if u&policy.HostUnknown != 0 {
		f.Host = other.Host
	}
	if f.Resolved == nil && f.Host != "" {
		f.Resolved = other.Resolved
	}
	if u&policy.AddrUnknown != 0 {
		f.Addr = other.Addr
	}
	if u&policy.PortUnknown != 0 {
		f.Port = other.Port
	}
	if u&policy.ProtoUnknown != 0 {
		f.Proto = other.Proto
	}
	if u&policy.ProtocolUnknown != 0 {
		f.Protocol = other.Protocol
	}
	return f
}

// breach says what of the ways judged does not hold for a verdict.
func breach(w policy.Ways, v policy.Verdict) string {
	switch {
	case v.NeedsAddr && !w.NeedsAddr:
		return "an address is needed though none was to be"
	case v.NeedsAddr:
		return ""
	case w.AllDirect && v.Kind != policy.Direct:
		return "not all ways are direct"
	case w.AllReject && v.Kind != policy.Reject:
		return "not all ways are reject"
	case !w.Open && v.Outbound != w.First.Outbound:
		return "another way was open"
	case w.Upstream == "isp" && v.Kind != policy.Direct:
		return "the local upstream may be asked for a name that leaves another way"
	}
	return ""
}

func TestJudgeOfAKnownFlowIsItsVerdict(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 4000 {
		w := randomWorld(t, r)
		p := policy.New(w.config)
		f := w.randomFlow(r)
		ways, v := p.Judge(f, 0), p.Decide(f)
		if v.NeedsAddr != ways.NeedsAddr {
			t.Fatalf("Judge(%+v, 0).NeedsAddr = %t, but Decide's is %t", f, ways.NeedsAddr, v.NeedsAddr)
		}
		if !v.NeedsAddr && (ways.First != v || ways.Open || ways.Upstream != v.Upstream) {
			t.Fatalf("Judge(%+v, 0) = %+v, want no other way than %+v", f, ways, v)
		}
	}
}

func TestAnUnreachableRuleNeverDecides(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	found := 0
	for range 6000 {
		w := randomWorld(t, r)
		p := policy.New(w.config)
		unreachable := p.Unreachable()
		found += len(unreachable)
		if len(unreachable) == 0 {
			continue
		}
		for range 200 {
			f := w.randomFlow(r)
			if v := p.Decide(f); slices.Contains(unreachable, v.Rule) {
				t.Fatalf("rule %s was called unreachable, but Decide(%+v) = %+v\nrules %+v", v.Rule, f, v, w.config.Rules)
			}
		}
	}
	if found < 1000 {
		t.Errorf("%d rules were found unreachable, want at least 1000 for the test to mean something", found)
	}
}

// What the kernel is left with, it is left with for every name that DNS tells.
func TestNoNameThatIsToldLeavesAnotherWayThanTheKernelSendsItsAddress(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	left := 0
	for range 8000 {
		w := randomWorld(t, r)
		w.config.Sniff, w.config.Default, w.config.RealIP = false, "direct", randomPatterns(t, r)
		p := policy.New(w.config)
		c := policy.Client(r.IntN(3))
		if !p.AnyName(c).AllDirect {
			continue
		}
		left++
		for _, host := range hosts {
			if ways := p.Name(c, host); p.RealName(host) && !ways.AllDirect {
				t.Fatalf("all real addresses are left to the kernel, though %s of %v leaves by %+v\nrules %+v", host, w.config.RealIP, ways, w.config.Rules)
			}
		}
	}
	if left < 1000 {
		t.Errorf("%d worlds were left to the kernel, want at least 1000 for the test to mean something", left)
	}
}
