package config

import (
	"slices"

	"github.com/fairlead/fairlead/gateway/policy"
)

// hasAddrs says whether a rule goes by addresses.
func hasAddrs(r policy.Rule) bool {
	return len(r.Prefixes) > 0 || slices.ContainsFunc(r.Sets, (*policy.Set).HasAddrs)
}

// anyName says whether a rule may match whatever the name is.
func anyName(r policy.Rule) bool {
	return hasAddrs(r) || len(r.Domains)+len(r.Sets) == 0
}

// unknown names what a rule goes by that is not known yet when a name is asked
// for; empty if nothing.
func unknown(r policy.Rule) string {
	switch {
	case hasAddrs(r):
		return "address"
	case len(r.Ports) > 0:
		return "port"
	case r.Protos != 0:
		return "transport"
	case r.Protocols != 0:
		return "protocol"
	}
	return ""
}

// outcome is what may still decide a name that a rule left open.
type outcome struct {
	rule     string // empty: no rule
	outbound string
	anyName  bool
}

// after lists what may decide names that rule i leaves open, in order.
func after(p policy.Config, i int) []outcome {
	clients := p.Rules[i].Clients
	var all []outcome
	for _, r := range p.Rules[i+1:] {
		if !overlap(clients, r.Clients) {
			continue
		}
		all = append(all, outcome{r.Name, r.Outbound, anyName(r)})
		if len(r.Clients) == 0 && anyName(r) && unknown(r) == "" {
			return all // it matches everything
		}
	}
	for _, outbound := range defaults(p, clients) {
		all = append(all, outcome{"", outbound, true})
	}
	return all
}

// overlap says whether two lists of clients have one in common; an empty list
// is everyone.
func overlap(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(c string) bool { return slices.Contains(b, c) })
}

// defaults lists the outbounds of what no rule matches, for some clients or,
// if there are none, for everyone.
func defaults(p policy.Config, clients []string) []string {
	var all []string
	if len(clients) == 0 {
		all = append(all, p.Default)
	}
	for _, c := range p.Clients {
		switch {
		case !overlap(clients, []string{c.Name}):
		case c.Outbound == "":
			all = append(all, p.Default)
		default:
			all = append(all, c.Outbound)
		}
	}
	return all
}

// mixes says whether rule i leaves names open of which some flows may leave
// directly and others be refused: no outbound then says which upstream to ask.
func mixes(p policy.Config, i int) bool {
	r := p.Rules[i]
	other := map[string]string{"direct": "reject", "reject": "direct"}[r.Outbound]
	return other != "" && unknown(r) != "" && slices.ContainsFunc(after(p, i), func(o outcome) bool {
		return o.outbound == other && (o.anyName || anyName(r))
	})
}

// hides gives what would send names directly if rule i did not leave them open.
func hides(p policy.Config, i int) (outcome, bool) {
	r := p.Rules[i]
	if r.Outbound == "direct" || unknown(r) == "" || !anyName(r) {
		return outcome{}, false
	}
	all := after(p, i)
	j := slices.IndexFunc(all, func(o outcome) bool { return o.outbound == "direct" })
	if j < 0 {
		return outcome{}, false
	}
	return all[j], true
}
