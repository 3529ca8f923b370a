package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"github.com/fairlead/fairlead/gateway/policy"
)

// Judgement is a rule of a firewall: the first one that matches decides.
// Conditions that are absent hold for everything.
type Judgement struct {
	Refuse      bool
	Family      uint8        // 4 or 6, as the version in the IP header
	Proto       policy.Proto // zero: TCP and UDP
	Sources     Choice[netip.Prefix]
	Targets     Choice[netip.Prefix] // as dialled: a fake address is in the range of fake ones
	SourcePorts Choice[policy.PortRange]
	TargetPorts Choice[policy.PortRange]
	MACs        Choice[policy.MAC]
}

// Choice holds for a value that is one of those in Of, if there are any, and
// none of those in Not.
type Choice[T any] struct{ Of, Not []T }

// Restricts tells whether there is a value for which the choice does not hold.
func (c Choice[T]) Restricts() bool { return len(c.Of)+len(c.Not) > 0 }

// validate wants values that a packet can have.
func (j Judgement) validate() error {
	errs := []error{validPrefixes(slices.Concat(j.Sources.Of, j.Sources.Not, j.Targets.Of, j.Targets.Not))}
	if j.Family != 0 && j.Family != 4 && j.Family != 6 {
		errs = append(errs, fmt.Errorf("there is no IP version %d", j.Family))
	}
	if j.Proto != 0 && j.Proto != policy.TCP && j.Proto != policy.UDP {
		errs = append(errs, fmt.Errorf("flows of protocol %d are not carried", j.Proto))
	}
	return errors.Join(errs...)
}

func judgementName(chain string, n int) string { return fmt.Sprintf("%s%d", chain, n) }

// rules are one, or one for each family that its addresses are of.
func (j Judgement) rules(name string, end verdict) []rule {
	if !j.Sources.Restricts() && !j.Targets.Restricts() {
		return rules(j.rule(name, j.onlyFamily(), end))
	}
	var rules []rule
	for _, f := range families() {
		if addresses, ok := j.addresses(name, f); ok {
			rules = append(rules, j.rule(name, addresses, end))
		}
	}
	return rules
}

func (j Judgement) rule(name string, steps []statement, end verdict) rule {
	if j.Proto != 0 {
		steps = append(steps, is{l4proto(), protoValue(j.Proto)})
	}
	steps = append(steps, choose(j.SourcePorts, sourcePort(), name+"_sport")...)
	steps = append(steps, choose(j.TargetPorts, targetPort(), name+"_dport")...)
	steps = append(steps, choose(j.MACs, sourceMAC(), name+"_mac")...)
	return rule{steps: append(steps, end)}
}

func protoValue(p policy.Proto) value {
	if p == policy.UDP {
		return udp()
	}
	return tcp()
}

// onlyFamily is the condition of a rule without addresses.
func (j Judgement) onlyFamily() []statement {
	for _, f := range families() {
		if j.Family == f.version() {
			return []statement{is{nfproto(), f.proto}}
		}
	}
	return nil
}

// addresses are the conditions on those of one family. There is no rule for a
// family of which a restricted side has none.
func (j Judgement) addresses(name string, f family) (steps []statement, ok bool) {
	if j.Family != 0 && j.Family != f.version() {
		return nil, false
	}
	sources, targets := ofFamily(j.Sources, f), ofFamily(j.Targets, f)
	if sources.Restricts() != j.Sources.Restricts() || targets.Restricts() != j.Targets.Restricts() {
		return nil, false
	}
	steps = choose(sources, source(f), name+"_saddr"+f.suffix())
	return append(steps, choose(targets, target(f), name+"_daddr"+f.suffix())...), true
}

// choose compares a field with the sets of a choice.
func choose[T any](c Choice[T], f field, name string) (steps []statement) {
	if len(c.Of) > 0 {
		steps = append(steps, in{field: f, set: name})
	}
	if len(c.Not) > 0 {
		steps = append(steps, in{field: f, not: true, set: name + "_not"})
	}
	return steps
}

// sets are what the rules look into.
func (j Judgement) sets(name string) []set {
	var sets []set
	for _, f := range families() {
		if _, ok := j.addresses(name, f); !ok {
			continue
		}
		like := set{key: []datatype{f.datatype()}, interval: true}
		elements := func(prefixes []netip.Prefix) []element { return prefixElements(f, prefixes) }
		sets = append(sets, chosen(ofFamily(j.Sources, f), like, name+"_saddr"+f.suffix(), elements)...)
		sets = append(sets, chosen(ofFamily(j.Targets, f), like, name+"_daddr"+f.suffix(), elements)...)
	}
	ports := set{key: []datatype{inetService()}, interval: true}
	sets = append(sets, chosen(j.SourcePorts, ports, name+"_sport", portElements)...)
	sets = append(sets, chosen(j.TargetPorts, ports, name+"_dport", portElements)...)
	return append(sets, chosen(j.MACs, set{key: []datatype{etherAddr()}}, name+"_mac", macElements)...)
}

func chosen[T any](c Choice[T], like set, name string, elements func([]T) []element) (sets []set) {
	if len(c.Of) > 0 {
		like.name, like.elements = name, elements(c.Of)
		sets = append(sets, like)
	}
	if len(c.Not) > 0 {
		like.name, like.elements = name+"_not", elements(c.Not)
		sets = append(sets, like)
	}
	return sets
}

func ofFamily(c Choice[netip.Prefix], f family) Choice[netip.Prefix] {
	other := func(p netip.Prefix) bool { return !f.has(p.Addr()) }
	return Choice[netip.Prefix]{
		Of:  slices.DeleteFunc(slices.Clone(c.Of), other),
		Not: slices.DeleteFunc(slices.Clone(c.Not), other),
	}
}

// portElements are the elements of an interval set of ports. The kernel refuses
// overlaps, so they are merged here.
func portElements(ranges []policy.PortRange) []element {
	sorted := slices.Clone(ranges)
	sort.Slice(sorted, func(i, k int) bool { return sorted[i].First < sorted[k].First }) // it is linked anyway
	var merged []policy.PortRange
	for _, r := range sorted {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	var elements []element
	for _, r := range merged {
		e := element{key: portValue(r.First)}
		if r.Last > r.First {
			e.key.text = fmt.Sprintf("%d-%d", r.First, r.Last)
		}
		if r.Last < 65535 {
			e.end = binary.BigEndian.AppendUint16(nil, r.Last+1)
		}
		elements = append(elements, e)
	}
	return elements
}
