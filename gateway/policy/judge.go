package policy

import "net/netip"

// Unknown says which fields of a Flow are not known yet: their value in the
// Flow is ignored, and they may turn out to be anything, absent too.
type Unknown uint8

// The fields of a Flow that can be unknown. Resolved is so by being nil.
const (
	HostUnknown Unknown = 1 << iota
	AddrUnknown
	PortUnknown
	ProtoUnknown
	ProtocolUnknown
)

// everything is what can be unknown of a flow that has not begun.
const everything = HostUnknown | AddrUnknown | PortUnknown | ProtoUnknown | ProtocolUnknown

// Ways are all ways that are still possible for a flow which is not known
// completely: whatever its unknown fields turn out to be, Decide gives one of
// them.
type Ways struct {
	// First is the verdict if no condition on what is unknown holds: that of the
	// first rule that matches for certain, or the default.
	First Verdict

	AllDirect bool // every way is of kind Direct
	AllReject bool // every way is of kind Reject
	Open      bool // more than one outbound is possible

	// NeedsAddr says that a rule with resolve comes into question before First,
	// so that Decide may need the addresses of the name.
	NeedsAddr bool

	// Upstream may be asked for the name while this is all that is known of its
	// flow: the local one only if AllDirect; nobody, and it is empty, if
	// AllReject. If Open it is that of the first way that is neither, and the
	// remote one if NeedsAddr or if there is no such way.
	Upstream string
}

// Judge gives the ways that are possible for a flow of which some fields are
// unknown. It does not allocate.
func (p *Policy) Judge(f Flow, u Unknown) Ways {
	w := waysSoFar{all: Ways{AllDirect: true, AllReject: true}}
	for i := range p.rules {
		r := &p.rules[i]
		match, needsAddr := r.match(&f, u)
		if match == no {
			continue
		}
		w.all.NeedsAddr = w.all.NeedsAddr || needsAddr
		w.add(&r.verdict)
		if match == yes {
			return w.end(p, &r.verdict)
		}
	}
	rest := &p.sections[f.Client].rest
	w.add(rest)
	return w.end(p, rest)
}

// waysSoFar collects Ways.
type waysSoFar struct {
	all      Ways
	outbound string // of the first way
	upstream string // of the first way that is neither direct nor reject
}

func (w *waysSoFar) add(v *Verdict) {
	w.all.AllDirect = w.all.AllDirect && v.Kind == Direct
	w.all.AllReject = w.all.AllReject && v.Kind == Reject
	if w.outbound == "" {
		w.outbound = v.Outbound
	}
	w.all.Open = w.all.Open || v.Outbound != w.outbound
	if w.upstream == "" && v.Kind != Direct && v.Kind != Reject {
		w.upstream = v.Upstream
	}
}

func (w *waysSoFar) end(p *Policy, first *Verdict) Ways {
	w.all.First = *first
	w.all.Upstream = w.mayAsk(p)
	return w.all
}

func (w *waysSoFar) mayAsk(p *Policy) string {
	switch {
	case w.all.AllDirect:
		return p.local
	case w.all.AllReject:
		return ""
	case !w.all.Open:
		return w.all.First.Upstream
	case w.all.NeedsAddr || w.upstream == "":
		return p.remote
	}
	return w.upstream
}

// Name gives the ways that are possible when the client asks for a name and
// nothing else is known.
func (p *Policy) Name(c Client, host string) Ways {
	return p.Judge(Flow{Client: c, Host: host}, everything&^HostUnknown)
}

// Answered gives the ways that are possible for a flow of the client to the
// name at addr. All addresses that the name was resolved to count for rules with
// resolve: those send a name one way, whichever of its addresses is dialled.
// Without any, addr counts alone, and a slice for it is allocated.
func (p *Policy) Answered(c Client, host string, addr netip.Addr, resolved ...netip.Addr) Ways {
	f := Flow{Client: c, Host: host, Addr: addr, Resolved: resolved}
	if len(resolved) == 0 {
		f.Resolved = []netip.Addr{addr}
	}
	return p.Judge(f, PortUnknown|ProtoUnknown|ProtocolUnknown)
}

// AnyName gives the ways that are possible for a flow of the client of which
// nothing is known.
func (p *Policy) AnyName(c Client) Ways { return p.Judge(Flow{Client: c}, p.unknown(c)) }
