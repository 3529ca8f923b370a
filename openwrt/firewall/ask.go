package firewall

import (
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft"
)

// Flow is one that the firewall is asked about. What is not known of it is zero.
type Flow struct {
	From   policy.Device // with the interface that it is behind
	Family uint8         // 4 or 6
	To     netip.Addr    // as dialled
	Proto  policy.Proto
	Port   uint16 // of To
}

// Answer is what the firewall does with a flow.
type Answer struct {
	Refused bool
	By      string   // the rule that refuses, or `zone` and the name of the one that does
	Unless  []string // rules that would do the contrary, for what is not known of the flow
}

// Forwards says what becomes of a flow to the WAN. What comes from a zone that is
// not known is let pass.
func (f *Firewall) Forwards(p Place, flow Flow, now time.Time) Answer {
	z, ok := f.zoneOf(p, flow)
	if !ok {
		return Answer{}
	}
	return flow.judged(f.forwarded(z, f.wan(p), now))
}

// Answers says what becomes of a question to the router.
func (f *Firewall) Answers(p Place, flow Flow, now time.Time) Answer {
	z, ok := f.zoneOf(p, flow)
	if !ok {
		return Answer{}
	}
	return flow.judged(f.questions(z, now))
}

func (f *Firewall) zoneOf(p Place, flow Flow) (zone, bool) {
	i := slices.IndexFunc(f.zones, func(z zone) bool { return z.has(flow.From.Interface, p.Networks) })
	if i < 0 {
		return zone{}, false
	}
	return f.zones[i], true
}

// judged is the verdict of the first judgement that surely matches.
func (flow Flow) judged(all []judgement) Answer {
	var perhaps []judgement
	var a Answer
	for _, j := range all {
		m := flow.match(j.Judgement)
		if m == surely {
			if a.Refused = j.Refuse; j.Refuse {
				a.By = j.by
			}
			break
		}
		if m == maybe {
			perhaps = append(perhaps, j)
		}
	}
	for _, j := range perhaps {
		if j.Refuse != a.Refused && !slices.Contains(a.Unless, j.by) {
			a.Unless = append(a.Unless, j.by)
		}
	}
	return a
}

// match is how far a flow, of which not all is known, meets conditions.
type match int

const (
	never match = iota
	maybe
	surely
)

func (flow Flow) match(j nft.Judgement) match {
	return min(
		same(j.Family, flow.Family),
		same(j.Proto, flow.Proto),
		chosen(j.Sources, flow.From.Addr.IsValid(), within(flow.From.Addr)),
		chosen(j.Targets, flow.To.IsValid(), within(flow.To)),
		chosen(j.MACs, flow.From.MAC != policy.MAC{}, func(mac policy.MAC) bool { return mac == flow.From.MAC }),
		chosen(j.SourcePorts, false, nil),
		chosen(j.TargetPorts, flow.Port != 0, func(r policy.PortRange) bool { return r.First <= flow.Port && flow.Port <= r.Last }),
	)
}

func within(a netip.Addr) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool { return p.Contains(a) }
}

// same compares two values of which the zero one stands for any, or for unknown.
func same[T comparable](want, got T) match {
	var any T
	switch got {
	case want:
		return surely
	case any:
		return maybe
	}
	if want == any {
		return surely
	}
	return never
}

func chosen[T any](c nft.Choice[T], known bool, is func(T) bool) match {
	switch {
	case !c.Restricts():
		return surely
	case !known:
		return maybe
	case (len(c.Of) == 0 || slices.ContainsFunc(c.Of, is)) && !slices.ContainsFunc(c.Not, is):
		return surely
	}
	return never
}
