package policy

import (
	"iter"
	"net/netip"
	"slices"
)

// Addrs gives, in order and without overlaps, the addresses of which rules
// decide by themselves what becomes of the client's flows, whatever their name,
// port and protocol turn out to be, and the verdict of the rule that does. Of
// all other addresses more must be known.
func (p *Policy) Addrs(c Client) iter.Seq2[netip.Prefix, Verdict] {
	return func(yield func(netip.Prefix, Verdict) bool) {
		var v4 []key4
		var v6 []key6
		for i := range p.rules {
			r := &p.rules[i]
			if r.matchClient(c) == no {
				continue
			}
			for _, s := range r.ranges() {
				v4 = appendCuts(v4, s.v4)
				v6 = appendCuts(v6, s.v6)
			}
		}
		if eachDecided(p, c, v4, key4.addr, yield) {
			eachDecided(p, c, v6, key6.addr, yield)
		}
	}
}

// ranges are those that a rule compares addresses with.
func (r *rule) ranges() []*ranges {
	all := []*ranges{&r.addrs}
	for _, s := range r.Sets {
		all = append(all, &s.addrs)
	}
	return all
}

// appendCuts adds where a verdict can change: the first address of each span,
// and the first behind it. The zero key stands behind the last address of all,
// and cutting there changes nothing.
func appendCuts[K key[K]](cuts []K, spans []span[K]) []K {
	for _, s := range spans {
		cuts = append(cuts, s.first, s.last.next())
	}
	return cuts
}

// eachDecided walks the pieces between the cuts, each of which is judged by its
// first address, and yields those that are decided, neighbours of one outbound
// together. It says whether to go on.
func eachDecided[K key[K]](p *Policy, c Client, cuts []K, addr func(K) netip.Addr, yield func(netip.Prefix, Verdict) bool) bool {
	slices.SortFunc(cuts, func(a, b K) int { return a.compare(b) })
	cuts = slices.CompactFunc(cuts, func(a, b K) bool { return a.compare(b) == 0 })
	for i := 0; i < len(cuts); {
		v, ok := p.decided(c, addr(cuts[i]))
		end := i + 1
		for ok && end < len(cuts) {
			next, same := p.decided(c, addr(cuts[end]))
			if !same || next.Outbound != v.Outbound {
				break
			}
			end++
		}
		if ok && !yieldRange(addr(cuts[i]), lastBefore(cuts, end, addr), v, yield) {
			return false
		}
		i = end
	}
	return true
}

// lastBefore is the last address of the piece before cuts[i].
func lastBefore[K key[K]](cuts []K, i int, addr func(K) netip.Addr) netip.Addr {
	if i < len(cuts) {
		return addr(cuts[i]).Prev()
	}
	first := addr(cuts[i-1])
	return lastOf(netip.PrefixFrom(first, 0))
}

func yieldRange(first, last netip.Addr, v Verdict, yield func(netip.Prefix, Verdict) bool) bool {
	for _, prefix := range appendPrefixes(nil, first, last) {
		if !yield(prefix, v) {
			return false
		}
	}
	return true
}

// decided gives the verdict on an address that a rule names, if it is certain.
func (p *Policy) decided(c Client, addr netip.Addr) (Verdict, bool) {
	if !slices.ContainsFunc(p.rules, func(r rule) bool { return r.matchClient(c) == yes && r.hasAddr(addr) }) {
		return Verdict{}, false
	}
	ways := p.Judge(Flow{Client: c, Addr: addr}, p.unknown(c)&^AddrUnknown)
	return ways.First, !ways.Open && !ways.NeedsAddr
}
