package config

import (
	"fmt"
	"slices"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway/policy"
)

// advise warns of what is no mistake, but probably not what was meant.
func (b *builder) advise(cfg *Config) {
	b.adviseMain(cfg)
	b.adviseRules(cfg)
	b.adviseUpstreams(cfg)
}

func (b *builder) adviseMain(cfg *Config) {
	if !cfg.Enabled {
		return
	}
	main := b.single("fairlead", "main")
	if len(cfg.Networks)+len(cfg.Devices) == 0 && !cfg.Router {
		main.warn("", main.Line, "nothing is served: it needs list network or list device")
	}
	elsewhere := func(outbound string) bool { return outbound != "direct" }
	if len(cfg.Policy.Rules) == 0 && !slices.ContainsFunc(defaults(cfg.Policy, nil), elsewhere) {
		main.warn("", main.Line, "there is no rule and the default is direct: everything leaves as it would without fairlead")
	}
}

func (b *builder) adviseRules(cfg *Config) {
	unreachable := policy.New(cfg.Policy).Unreachable()
	for i, s := range b.of("rule") {
		r := cfg.Policy.Rules[i]
		if slices.Contains(unreachable, r.Name) {
			s.warn("", s.Line, "it can never match: an earlier rule decides everything that it would")
		}
		for _, p := range r.Prefixes {
			if p.Overlaps(cfg.DNS.Fake4) || p.Overlaps(cfg.DNS.Fake6) {
				s.warn("ip", s.lineOf("ip"), "%s overlaps a fakeip range; fake addresses are never compared", p)
			}
		}
		switch hidden, hides := hides(cfg.Policy, i); {
		case r.Resolve && hasAddrs(r):
			s.warn("resolve", s.lineOf("resolve"), "every name that no earlier rule decides is asked of dns.remote_upstream")
		case r.Resolve:
			s.warn("resolve", s.lineOf("resolve"), "it has no meaning without addresses to compare with")
		case hides:
			s.warn("", s.Line, "the %s of a flow is not known when its name is asked for: names that leave directly by %s "+
				"are not asked of the local upstream, unless an earlier rule decides them", unknown(r), hidden)
		}
	}
}

// String names what decides, within a sentence.
func (o outcome) String() string {
	if o.rule == "" {
		return "default"
	}
	return fmt.Sprintf("rule %q", o.rule)
}

// adviseUpstreams looks at what names that do not leave directly are asked of.
func (b *builder) adviseUpstreams(cfg *Config) {
	for _, s := range b.sections {
		option := map[string]string{"dns": "remote_upstream", "outbound": "upstream"}[s.Type]
		if option == "" || !s.has(option) {
			continue
		}
		name := s.text(option)
		if name == cfg.Policy.LocalUpstream {
			s.warn(option, s.lineOf(option), "it is the local upstream, which then sees names that do not leave directly")
		}
		if isPlain(cfg.Upstreams, name) {
			s.warn(option, s.lineOf(option), "upstream %q is asked directly and unencrypted: the WAN sees names that do not leave directly", name)
		}
	}
}

// isPlain says whether an upstream's questions can be read on the WAN.
func isPlain(all []upstream.Config, name string) bool {
	i := slices.IndexFunc(all, func(u upstream.Config) bool { return u.Name == name })
	if i < 0 {
		return true // auto: what the provider's DHCP gave
	}
	return all[i].Outbound == "direct" && slices.ContainsFunc(all[i].Servers, func(s upstream.Server) bool {
		return s.Scheme == "udp" || s.Scheme == "tcp" || s.Scheme == "auto"
	})
}
