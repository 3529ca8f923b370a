package policy

import (
	"net/netip"
	"slices"
)

// Flow is what is known of a flow, or of one that a name is asked for. What is
// not known is zero, and no condition on it holds.
type Flow struct {
	Client   Client
	Host     string       // lower-case, without trailing dot
	Addr     netip.Addr   // that the client dialled; the zero Addr if it was a fake one
	Resolved []netip.Addr // of Host, for rules with resolve; nil: not resolved yet, empty: it has none
	Port     uint16       // of the destination
	Proto    Proto
	Protocol Protocol
}

// Verdict is the way of a flow.
type Verdict struct {
	Outbound string
	Kind     Kind   // of the outbound
	Rule     string // the rule that decided; "default" if none matched

	// Upstream may be asked for the flow's name; it is empty if nobody may.
	Upstream string

	// NeedsAddr says that there is no verdict yet: Rule cannot be judged before
	// Upstream, the remote one, has resolved the name into Flow.Resolved.
	// Outbound is empty then, and Kind is Reject, so that no flow leaves by mistake.
	NeedsAddr bool
}

// Decide gives the way of a flow: that of the first rule that matches it, or
// else what its client's section or the Config has as default. It is final
// unless it needs the addresses of the name. It does not allocate.
func (p *Policy) Decide(f Flow) Verdict {
	for i := range p.rules {
		r := &p.rules[i]
		switch match, _ := r.match(&f, 0); match {
		case yes:
			return r.verdict
		case maybe: // nothing else is unknown
			return Verdict{Kind: Reject, Rule: r.Name, Upstream: p.remote, NeedsAddr: true}
		}
	}
	return p.sections[f.Client].rest
}

// answer is that of a condition to a flow which may not be known completely.
// The answer of conditions that must all hold is their minimum, of alternatives
// their maximum.
type answer uint8

const (
	no answer = iota
	maybe
	yes
)

func sure(holds bool) answer {
	if holds {
		return yes
	}
	return no
}

// rule is a Rule, compiled.
type rule struct {
	Rule
	clients  []Client
	names    names  // Domains
	addrs    ranges // Prefixes
	anywhere bool   // neither Domains nor Sets nor Prefixes
	hasNames bool   // Domains or Sets can match a name
	hasAddrs bool   // Prefixes or Sets can match an address
	verdict  Verdict
}

// match says whether the rule matches the flow, of which some fields may be
// unknown, and whether the answer may depend on addresses that the name has not
// been resolved to yet.
func (r *rule) match(f *Flow, u Unknown) (match answer, needsAddr bool) {
	others := min(r.matchClient(f.Client), r.matchPort(f.Port, u), r.matchProto(f.Proto, u), r.matchProtocol(f.Protocol, u))
	if others == no || r.anywhere {
		return others, false
	}
	target := max(r.matchHost(f.Host, u), r.matchAddr(f.Addr, u))
	if target == yes {
		return others, false
	}
	resolved := r.matchResolved(f, u)
	return min(others, max(target, resolved)), resolved == maybe
}

func (r *rule) matchClient(c Client) answer {
	return sure(len(r.Clients) == 0 || slices.Contains(r.clients, c))
}

func (r *rule) matchPort(port uint16, u Unknown) answer {
	if len(r.Ports) == 0 {
		return yes
	}
	if u&PortUnknown != 0 {
		return maybe
	}
	for _, within := range r.Ports {
		if port != 0 && within.First <= port && port <= within.Last {
			return yes
		}
	}
	return no
}

func (r *rule) matchProto(proto Proto, u Unknown) answer {
	if r.Protos == 0 {
		return yes
	}
	if u&ProtoUnknown != 0 {
		return maybe
	}
	return sure(r.Protos&proto.Set() != 0)
}

func (r *rule) matchProtocol(protocol Protocol, u Unknown) answer {
	if r.Protocols == 0 {
		return yes
	}
	if u&ProtocolUnknown != 0 {
		return maybe
	}
	return sure(r.Protocols&protocol.Set() != 0)
}

func (r *rule) matchHost(host string, u Unknown) answer {
	if !r.hasNames {
		return no
	}
	if u&HostUnknown != 0 {
		return maybe
	}
	return sure(r.hasName(host))
}

func (r *rule) matchAddr(addr netip.Addr, u Unknown) answer {
	if !r.hasAddrs {
		return no
	}
	if u&AddrUnknown != 0 {
		return maybe
	}
	return sure(r.hasAddr(addr))
}

// matchResolved compares the addresses of the name, where the rule says so.
func (r *rule) matchResolved(f *Flow, u Unknown) answer {
	if !r.Resolve || !r.hasAddrs {
		return no
	}
	if f.Resolved != nil {
		return sure(slices.ContainsFunc(f.Resolved, r.hasAddr))
	}
	if f.Host == "" && u&HostUnknown == 0 {
		return no // there is nothing to resolve
	}
	return maybe
}

func (r *rule) hasName(host string) bool {
	if r.names.match(host) {
		return true
	}
	for _, s := range r.Sets {
		if s.MatchName(host) {
			return true
		}
	}
	return false
}

func (r *rule) hasAddr(addr netip.Addr) bool {
	if r.addrs.contain(addr) {
		return true
	}
	for _, s := range r.Sets {
		if s.MatchAddr(addr) {
			return true
		}
	}
	return false
}
