// Package policy decides which way a flow leaves, and from the same rules how
// its name is answered and who may be asked for it. It decides by its Config
// and the flow alone: no look-ups, no state, no clock.
package policy

import "slices"

// Policy is the compiled form of a Config. It is immutable and safe for
// concurrent use.
type Policy struct {
	sections []section // by Client
	rules    []rule
	realIP   names
	sniff    bool
	local    string // upstreams
	remote   string
}

// New compiles a Config, which it trusts to be valid and keeps parts of.
func New(c Config) *Policy {
	p := &Policy{
		realIP: namesOf(c.RealIP),
		sniff:  c.Sniff,
		local:  c.LocalUpstream,
		remote: c.RemoteUpstream,
	}
	outbounds := outboundsOf(c.Outbounds)
	p.compileSections(c, outbounds)
	p.compileRules(c.Rules, outbounds)
	p.findTold(c)
	return p
}

// outboundsOf gives the outbounds by name.
func outboundsOf(declared []Outbound) map[string]Outbound {
	byName := map[string]Outbound{
		"direct": {Name: "direct", Kind: Direct},
		"reject": {Name: "reject", Kind: Reject},
	}
	for _, o := range declared {
		byName[o.Name] = o
	}
	return byName
}

func (p *Policy) compileSections(c Config, outbounds map[string]Outbound) {
	everyone := Section{Name: defaultName, Mode: c.Mode}
	for _, s := range append([]Section{everyone}, c.Clients...) {
		if s.Outbound == "" {
			s.Outbound = c.Default
		}
		p.sections = append(p.sections, section{
			Section: s,
			addrs:   rangesOf(s.Prefixes),
			rest:    p.verdict(defaultName, s.Outbound, outbounds),
		})
	}
}

func (p *Policy) compileRules(rules []Rule, outbounds map[string]Outbound) {
	for _, r := range rules {
		p.rules = append(p.rules, rule{
			Rule:     r,
			clients:  p.clientsNamed(r.Clients),
			names:    namesOf(r.Domains),
			addrs:    rangesOf(r.Prefixes),
			anywhere: len(r.Domains)+len(r.Sets)+len(r.Prefixes) == 0,
			hasNames: len(r.Domains) > 0 || slices.ContainsFunc(r.Sets, (*Set).HasNames),
			hasAddrs: len(r.Prefixes) > 0 || slices.ContainsFunc(r.Sets, (*Set).HasAddrs),
			verdict:  p.verdict(r.Name, r.Outbound, outbounds),
		})
	}
}

func (p *Policy) clientsNamed(names []string) []Client {
	var clients []Client
	for _, name := range names {
		if c, ok := p.ClientByName(name); ok {
			clients = append(clients, c)
		}
	}
	return clients
}

// verdict is what a rule says of the flows it matches.
func (p *Policy) verdict(rule, outbound string, outbounds map[string]Outbound) Verdict {
	o, declared := outbounds[outbound]
	if !declared {
		o = outbounds["reject"] // a mistake must not let anything out
	}
	return Verdict{Outbound: o.Name, Kind: o.Kind, Rule: rule, Upstream: p.upstreamOf(o)}
}

// upstreamOf is the upstream that may be asked for names that leave by the
// outbound.
func (p *Policy) upstreamOf(o Outbound) string {
	switch {
	case o.Kind == Direct:
		return p.local
	case o.Kind == Reject:
		return ""
	case o.Upstream != "":
		return o.Upstream
	}
	return p.remote
}

// RealName says whether the name is answered with real addresses in every mode.
func (p *Policy) RealName(name string) bool { return p.realIP.match(name) }
