package config

import "github.com/fairlead/fairlead/gateway/policy"

// rules reads the rules, with the rule sets that they use by name.
func (b *builder) rules(sets map[string]*policy.Set) []policy.Rule {
	var rules []policy.Rule
	lines := make(map[string]int)
	for _, s := range b.of("rule") {
		r := s.rule(sets)
		if line := lines[r.Name]; line > 0 {
			s.warn("", s.Line, "the rule on line %d is called %q too; explain and logs cannot tell them apart", line, r.Name)
		}
		lines[r.Name] = s.Line
		rules = append(rules, r)
	}
	return rules
}

func (s *section) rule(sets map[string]*policy.Set) policy.Rule {
	s.need("outbound")
	r := policy.Rule{
		Name:     s.ruleName(),
		Clients:  every(s, "client", s.b.reference("client")),
		Domains:  every(s, "domain", policy.ParsePattern),
		Prefixes: every(s, "ip", parsePrefix),
		Ports:    every(s, "port", policy.ParsePorts),
		Outbound: s.reference("outbound", "outbound"),
		Resolve:  s.flag("resolve"),
	}
	for _, name := range every(s, "ruleset", s.b.reference("ruleset")) {
		if set := sets[name]; set != nil {
			r.Sets = append(r.Sets, set)
		}
	}
	for _, p := range every(s, "proto", chosen(s.entry("proto"), policy.ParseProto)) {
		r.Protos |= p.Set()
	}
	for _, p := range every(s, "protocol", chosen(s.entry("protocol"), policy.ParseProtocol)) {
		r.Protocols |= p.Set()
	}
	return r
}

// ruleName is what explain and logs call the rule.
func (s *section) ruleName() string {
	name := s.text("name")
	if name == "" {
		name = s.Title()
	}
	switch name {
	case "default":
		s.mistake("", s.Line, "what no rule matches is called default; this rule needs another name")
	case essentialsRule:
		s.mistake("", s.Line, "the rule for essential names is called essentials; this rule needs another name")
	}
	return name
}
