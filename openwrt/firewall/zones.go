package firewall

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft"
)

// Place says where the devices of this router are.
type Place struct {
	Served   []string            // interfaces of the LAN
	Networks map[string][]string // interfaces of each network
	WAN      []string            // interfaces of the default routes
}

// Zones are what the firewall refuses the served interfaces at a moment, for
// flows that leave by the WAN. Interfaces for which it refuses nothing, or whose
// zone is not known, have none.
func (f *Firewall) Zones(p Place, now time.Time) []nft.Zone {
	var all []nft.Zone
	wan := f.wan(p)
	for i, devices := range f.served(p) {
		z := nft.Zone{Devices: devices, Forward: judgements(f.forwarded(f.zones[i], wan, now)), Input: judgements(f.questions(f.zones[i], now))}
		if len(devices) > 0 && len(z.Forward)+len(z.Input) > 0 {
			all = append(all, z)
		}
	}
	return all
}

// served are the served interfaces of each zone.
func (f *Firewall) served(p Place) [][]string {
	all := make([][]string, len(f.zones))
	for _, d := range p.Served {
		if i := slices.IndexFunc(f.zones, func(z zone) bool { return z.has(d, p.Networks) }); i >= 0 {
			all[i] = append(all[i], d)
		}
	}
	return all
}

func (z zone) has(device string, networks map[string][]string) bool {
	if z.unseen != "" {
		return false
	}
	for _, n := range z.networks {
		if slices.Contains(networks[n], device) {
			return true
		}
	}
	return slices.ContainsFunc(z.devices, func(d string) bool {
		start, any := strings.CutSuffix(d, "+")
		return d == device || any && strings.HasPrefix(device, start)
	})
}

// wan are the zones that flows leave by: those of the default routes, else one
// of that name, else those that masquerade.
func (f *Firewall) wan(p Place) map[string]bool {
	for _, is := range []func(z zone) bool{
		func(z zone) bool {
			return slices.ContainsFunc(p.WAN, func(d string) bool { return z.has(d, p.Networks) })
		},
		func(z zone) bool { return z.name == "wan" },
		func(z zone) bool { return z.masq },
	} {
		wan := map[string]bool{}
		for _, z := range f.zones {
			if is(z) {
				wan[z.name] = true
			}
		}
		if len(wan) > 0 {
			return wan
		}
	}
	return nil
}

// judgement is one with the name of the rule, or of the zone, that it comes from.
type judgement struct {
	nft.Judgement
	by string
}

func judgements(all []judgement) []nft.Judgement {
	var bare []nft.Judgement
	for _, j := range all {
		bare = append(bare, j.Judgement)
	}
	return bare
}

// policy is what becomes of flows of a zone that no rule matches.
func (z zone) policy(family uint8, v verdict) judgement {
	return judgement{nft.Judgement{Family: family, Refuse: v == refuse}, "zone " + z.name}
}

// forwarded are the rules that fw4's chain forward has for flows from a zone to
// the WAN: those for any source, those for the zone, forwardings, the policy.
func (f *Firewall) forwarded(z zone, wan map[string]bool, now time.Time) []judgement {
	var all []judgement
	leaves := func(dest string) bool { return dest == anyZone || wan[dest] }
	for _, src := range []string{anyZone, z.name} {
		for _, u := range f.rules {
			j, ok := u.judged()
			if ok && u.src == src && leaves(u.dest) && u.when.holds(now, f.clock, j.Refuse) {
				all = append(all, judgement{j, u.name})
			}
		}
		for _, w := range f.forwardings {
			if w.src == src && leaves(w.dest) {
				all = append(all, z.policy(w.family, accept))
			}
		}
	}
	if wan[z.name] {
		all = append(all, z.policy(z.family, z.forward))
	}
	return short(append(all, z.policy(0, f.forward)))
}

// questions are the rules that fw4's chain input has for DNS from a zone.
func (f *Firewall) questions(z zone, now time.Time) []judgement {
	var all []judgement
	for _, src := range []string{anyZone, z.name} {
		for _, u := range f.rules {
			j, ok := u.judgedInput()
			if !ok || u.src != src || u.dest != "" || !isDNS(j.TargetPorts) || !u.when.holds(now, f.clock, j.Refuse) {
				continue
			}
			j.TargetPorts = nft.Choice[policy.PortRange]{} // no others are asked about
			all = append(all, judgement{j, u.name})
		}
	}
	return short(append(all, z.policy(z.family, z.input), z.policy(0, f.input)))
}

func isDNS(ports nft.Choice[policy.PortRange]) bool {
	const dns = 53 // RFC 1035 section 4.2
	has := func(r policy.PortRange) bool { return r.First <= dns && dns <= r.Last }
	return (len(ports.Of) == 0 || slices.ContainsFunc(ports.Of, has)) && !slices.ContainsFunc(ports.Not, has)
}

// short leaves out what changes nothing: whatever stands behind a rule for
// everything, and accepting at the end. Most zones have nothing left then.
func short(all []judgement) []judgement {
	last := slices.IndexFunc(all, func(j judgement) bool {
		j.Refuse = false
		return reflect.DeepEqual(j.Judgement, nft.Judgement{})
	})
	if last >= 0 {
		all = all[:last+1]
	}
	for len(all) > 0 && !all[len(all)-1].Refuse {
		all = all[:len(all)-1]
	}
	return all
}

// Unseen says what of the firewall does not hold for flows that the daemon
// carries, or not exactly.
func (f *Firewall) Unseen(p Place) []string {
	var all []string
	placed := f.served(p)
	for _, d := range p.Served {
		if !slices.ContainsFunc(placed, func(devices []string) bool { return slices.Contains(devices, d) }) {
			all = append(all, fmt.Sprintf("the zone of interface %s is not known; fairlead carries its flows whatever the firewall says", d))
		}
	}
	for _, z := range f.zones {
		if z.unseen != "" {
			all = append(all, fmt.Sprintf("firewall zone %q depends on %s; fairlead carries its flows whatever the firewall says", z.name, z.unseen))
		}
	}
	wan := f.wan(p)
	for _, u := range f.rules {
		if !f.concerns(u, placed, wan) {
			continue
		}
		if len(u.unseen) > 0 {
			all = append(all, u.String())
		}
		for _, odd := range u.oddities {
			all = append(all, fmt.Sprintf("firewall rule %q has %s", u.name, odd))
		}
	}
	for _, path := range f.includes {
		all = append(all, fmt.Sprintf("the firewall includes %s; what that refuses, fairlead does not know", path))
	}
	return all
}

// concerns tells whether the rule is about flows from a served zone to the WAN.
func (f *Firewall) concerns(u rule, served [][]string, wan map[string]bool) bool {
	if u.dest != anyZone && !wan[u.dest] {
		return false
	}
	return u.src == anyZone || len(served[f.index(u.src)]) > 0
}
