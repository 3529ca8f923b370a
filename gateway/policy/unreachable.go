package policy

import (
	"net/netip"
	"slices"
)

// Unreachable names the rules, in order, that can never decide, because one
// earlier rule matches whatever they match. It reports only what is certain:
// rules that several earlier ones cover together are not found.
func (p *Policy) Unreachable() []string {
	var unreachable []string
	for i := range p.rules {
		later := &p.rules[i]
		shadows := func(earlier rule) bool { return earlier.shadows(later) }
		if slices.ContainsFunc(p.rules[:i], shadows) {
			unreachable = append(unreachable, later.Name)
		}
	}
	return unreachable
}

// shadows says whether the rule certainly matches whatever the later one does.
// A list that is absent is wider than every other, even than one that names all
// values, since that one does not match the unknown.
func (r *rule) shadows(later *rule) bool {
	return wider(r.Clients, later.Clients, r.coversClient) &&
		wider(r.Ports, later.Ports, r.coversPorts) &&
		(r.Protos == 0 || later.Protos != 0 && later.Protos&^r.Protos == 0) &&
		(r.Protocols == 0 || later.Protocols != 0 && later.Protocols&^r.Protocols == 0) &&
		(r.anywhere || !later.anywhere && r.coversTarget(later))
}

// wider says whether one list matches whatever another one does, every member
// of which has to be covered.
func wider[T any](list, other []T, covers func(T) bool) bool {
	if len(list) == 0 {
		return true
	}
	return len(other) > 0 && all(other, covers)
}

func all[T any](list []T, holds func(T) bool) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !holds(v) })
}

func (r *rule) coversClient(name string) bool { return slices.Contains(r.Clients, name) }

func (r *rule) coversPorts(ports PortRange) bool {
	return slices.ContainsFunc(r.Ports, func(within PortRange) bool {
		return within.First <= ports.First && ports.Last <= within.Last
	})
}

func (r *rule) coversTarget(later *rule) bool {
	if later.Resolve && later.hasAddrs && !r.Resolve {
		return false // later compares addresses that r does not look at
	}
	return all(later.Domains, r.coversPattern) &&
		all(later.Sets, func(s *Set) bool { return slices.Contains(r.Sets, s) }) &&
		all(later.Prefixes, r.coversPrefix)
}

func (r *rule) coversPattern(p Pattern) bool {
	return r.names.cover(p) || slices.ContainsFunc(r.Sets, func(s *Set) bool { return s.names.cover(p) })
}

func (r *rule) coversPrefix(p netip.Prefix) bool {
	return r.addrs.cover(p) || slices.ContainsFunc(r.Sets, func(s *Set) bool { return s.addrs.cover(p) })
}

// cover says whether the set certainly matches every name that the pattern does.
func (n *names) cover(p Pattern) bool {
	switch p.form {
	case full:
		return n.match(p.text)
	case suffix: // what a name contains, those under it contain too
		return n.suffixes.hasParent(p.text) || n.hasKeyword(p.text)
	case keyword:
		return n.hasKeyword(p.text)
	case expression:
		return slices.ContainsFunc(n.regexps, func(re Pattern) bool { return re.text == p.text })
	}
	return false
}
