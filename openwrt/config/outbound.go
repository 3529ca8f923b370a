package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead/fairlead/gateway/outbound"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/mark"
)

// outbounds reads the outbounds. Names of nodes are resolved by the local upstream
// where they do not say otherwise, if it can be asked directly and in the clear.
func (b *builder) outbounds(localResolves, router bool) []outbound.Config {
	var all []outbound.Config
	var interfaces []*section
	for _, s := range b.of("outbound") {
		o := s.outbound(localResolves)
		if o.Type == "interface" {
			interfaces = append(interfaces, s)
		}
		all = append(all, o)
	}
	b.checkCount(interfaces, router)
	return all
}

// checkCount wants a mark for each outbound of type interface. The last of them
// is taken where the router's own traffic is diverted.
func (b *builder) checkCount(interfaces []*section, router bool) {
	most, with := mark.Interfaces, ""
	if router {
		most, with = most-1, " with option router '1'"
	}
	for _, s := range interfaces[min(most, len(interfaces)):] {
		s.mistake("type", s.lineOf("type"), "there cannot be more than %d outbounds of type interface%s", most, with)
	}
}

func (s *section) outbound(localResolves bool) outbound.Config {
	o := outbound.Config{
		Name:      s.Name,
		Type:      one(s, "type", s.parseOutboundType),
		Server:    one(s, "server", parseHost),
		Port:      uint16(s.number("port")),
		Username:  one(s, "username", parseSecret),
		Password:  one(s, "password", parseSecret),
		Bootstrap: every(s, "bootstrap", parseAddrPort(53)),
		Upstream:  s.reference("upstream", "upstream"),
		Device:    one(s, "device", parseDevice),
		Gateway:   one(s, "gateway", parseAddr),
		Masq:      s.flag("masq"),
		Members:   every(s, "member", s.b.reference("outbound")),
	}
	s.need("type")
	switch o.Type {
	case "interface":
		s.need("device")
		s.idle(o.Type, "server", "port", "username", "password", "bootstrap", "member")
	case "socks5":
		s.need("server", "port")
		s.idle(o.Type, "device", "gateway", "masq", "member")
		s.checkSecrets()
	}
	if isName(o.Server) && !s.has("bootstrap") && !localResolves {
		s.mistake("server", s.lineOf("server"),
			"%q is a name: it needs list bootstrap, or a dns.local_upstream with a server given by address over udp", o.Server)
	}
	return o
}

// parseOutboundType tells types that are merely not there yet from mistyped ones.
func (s *section) parseOutboundType(v string) (string, error) {
	if slices.Contains([]string{"http", "shadowsocks", "fallback", "latency", "balance"}, v) {
		return "", fmt.Errorf("this version does not have outbounds of type %s yet", v)
	}
	return s.entry("type").parseChoice(v)
}

func (s *section) checkSecrets() {
	pair := []string{"username", "password"}
	for i, name := range pair {
		if other := pair[1-i]; s.has(name) && !s.has(other) {
			s.mistake(name, s.lineOf(name), "it needs option %s beside it", other)
		}
	}
}

// idle warns of options that the type makes no use of.
func (s *section) idle(typ string, names ...string) {
	for _, name := range names {
		if s.has(name) {
			s.warn(name, s.lineOf(name), "it has no meaning for an outbound of type %s", typ)
		}
	}
}

// isName says whether a server is given by name.
func isName(server string) bool {
	_, err := netip.ParseAddr(server)
	return server != "" && err != nil
}

// policyOutbounds is what the policy needs to know of the outbounds.
func policyOutbounds(all []outbound.Config) []policy.Outbound {
	var known []policy.Outbound
	for _, o := range all {
		kind := policy.Node
		if o.Type == "interface" {
			kind = policy.Interface
		}
		known = append(known, policy.Outbound{Name: o.Name, Kind: kind, Upstream: o.Upstream})
	}
	return known
}
