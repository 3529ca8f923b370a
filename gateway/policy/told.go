package policy

import "slices"

// unknown is what may yet be learned of a client's flow that has not begun.
// Without sniffing its name is not, unless DNS told it.
func (p *Policy) unknown(c Client) Unknown {
	if p.sniff || p.sections[c].told {
		return everything
	}
	return everything &^ HostUnknown
}

// findTold finds the clients whose flows to a real address can go another way
// than directly because of the name that DNS gave it for.
func (p *Policy) findTold(cfg Config) {
	for i := range p.sections {
		c := Client(i)
		astray := func(names Pattern) bool { return !p.leaveDirectly(c, names) }
		p.sections[i].told = p.Mode(c) == RealIP || cfg.Router && c == 0 || slices.ContainsFunc(cfg.RealIP, astray)
	}
}

// leaveDirectly says whether all names of the pattern are sure to leave directly.
// Rules that compare the address dialled are left out: they need no name.
func (p *Policy) leaveDirectly(c Client, names Pattern) bool {
	named := rule{Rule: Rule{Clients: []string{p.sections[c].Name}, Domains: []Pattern{names}}}
	for i := range p.rules {
		r := &p.rules[i]
		switch {
		case r.matchClient(c) == no || !r.mayMatch(names):
		case r.verdict.Kind != Direct:
			return false
		case r.shadows(&named):
			return true
		}
	}
	return p.sections[c].rest.Kind == Direct
}

// mayMatch says whether the rule may match a name of the pattern by the name, or
// by what it is resolved to.
func (r *rule) mayMatch(names Pattern) bool {
	return r.anywhere || r.Resolve && r.hasAddrs || r.names.overlap(names) ||
		slices.ContainsFunc(r.Sets, func(s *Set) bool { return s.names.overlap(names) })
}

// overlap says whether the set may match a name that the pattern matches. Of
// keywords and regular expressions it takes that for granted.
func (n *names) overlap(p Pattern) bool {
	switch p.form {
	case full:
		return n.match(p.text)
	case suffix:
		return n.match(p.text) || n.suffixes.hasChild(p.text) || n.fulls.hasChild(p.text) || len(n.keywords)+len(n.regexps) > 0
	}
	return n.count() > 0
}
