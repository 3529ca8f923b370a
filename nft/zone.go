package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead/fairlead/nft/mark"
	"golang.org/x/sys/unix"
)

// Zone is what the machine's own firewall lets the devices behind some
// interfaces do. Its chain forward never sees a flow that the daemon carries, so
// its rules are asked before one is taken.
type Zone struct {
	Devices []string
	Forward []Judgement // of flows that the daemon would carry; none matches: it may
	Input   []Judgement // of questions to the machine itself; none matches: they are answered
}

// Chains of what the firewall refuses.
const (
	zonesChain    = "zones"    // asked about flows that would be carried
	inputsChain   = "inputs"   // asked about questions to the machine itself
	withheldChain = "withheld" // flows that the firewall has to refuse
)

func zoneName(i int) string { return fmt.Sprintf("zone%d", i) }

func validZones(zones []Zone) error {
	var errs []error
	for _, z := range zones {
		errs = append(errs, validDevices(z.Devices))
		for _, j := range slices.Concat(z.Forward, z.Input) {
			errs = append(errs, j.validate())
		}
	}
	return errors.Join(errs...)
}

// withholds tells whether a firewall refuses anything that would be carried.
func (c Config) withholds() bool {
	return slices.ContainsFunc(c.Zones, func(z Zone) bool { return len(z.Forward) > 0 })
}

// silences tells whether a firewall refuses questions to the machine itself.
func (c Config) silences() bool {
	return slices.ContainsFunc(c.Zones, func(z Zone) bool { return len(z.Input) > 0 })
}

func (c Config) zoneSets() []set {
	var sets []set
	for i, z := range c.Zones {
		sides := z.sides(i)
		if len(sides) > 0 {
			sets = append(sets, set{name: zoneName(i), key: []datatype{interfaceName()}, elements: deviceElements(z.Devices)})
		}
		for _, side := range sides {
			for n, j := range side.judgements {
				sets = append(sets, j.sets(judgementName(side.chain, n))...)
			}
		}
	}
	return sets
}

// side is the chain that judges one kind of a zone's packets.
type side struct {
	chain      string
	asked      string // the chain that finds it
	judgements []Judgement
	refuse     string // the chain for what is refused
}

func (z Zone) sides(i int) []side {
	var sides []side
	if len(z.Forward) > 0 {
		sides = append(sides, side{zoneName(i) + "_forward", zonesChain, z.Forward, withheldChain})
	}
	if len(z.Input) > 0 {
		sides = append(sides, side{zoneName(i) + "_input", inputsChain, z.Input, refuseChain})
	}
	return sides
}

func (c Config) zoneChains() []chain {
	var chains []chain
	find := map[string][]rule{}
	for i, z := range c.Zones {
		for _, s := range z.sides(i) {
			find[s.asked] = append(find[s.asked], line(in{field: iifname(), set: zoneName(i)}, goTo(s.chain)))
			chains = append(chains, chain{name: s.chain, rules: s.rules()})
		}
	}
	if c.withholds() {
		withheld := append(c.fakes(refuseChain), line(remember{mark.Carried}, accept()))
		chains = append(chains,
			chain{name: withheldChain, rules: withheld},
			chain{name: zonesChain, rules: find[zonesChain]},
			chain{name: "stray", hook: atLeaving(), rules: stray()})
	}
	if c.silences() {
		chains = append(chains, chain{name: inputsChain, rules: find[inputsChain]})
	}
	return chains
}

// askZones lets the firewall have what it refuses, of flows on their way to a
// listener. It comes back with all others. Without a heartbeat nothing is taken,
// and so nothing withheld; rules that hold for a time would be out of date.
func (c Config) askZones() []rule {
	if !c.withholds() {
		return nil
	}
	return rules(line(beating(), transports(), jumpTo(zonesChain)))
}

// askAboutQuestion does the same for a question: one to the machine itself is
// what the firewall's chain input would get, one to another what forward would.
func (c Config) askAboutQuestion() []rule {
	var rules []rule
	if c.silences() {
		rules = append(rules, line(beating(), is{fibTarget(), local()}, jumpTo(inputsChain)))
	}
	if c.withholds() {
		rules = append(rules, line(beating(), isNot{fibTarget(), local()}, jumpTo(zonesChain)))
	}
	return rules
}

// stray sees the first packet of each flow that leaves. One that was withheld
// should have been refused by the firewall: it must not leave another way than
// the policy says because the firewall's rules are not what they were read to be.
func stray() []rule {
	return rules(line(in{field: oifname(), not: true, set: lanSet}, is{ctMark().and(ours()), markValue(mark.Carried)}, drop()))
}

func atLeaving() *hook {
	return &hook{"nat", "postrouting", unix.NF_INET_POST_ROUTING, "srcnat - 6", 100 - 6} // NF_IP_PRI_NAT_SRC
}

func (s side) rules() []rule {
	var rules []rule
	for n, j := range s.judgements {
		end := goBack()
		if j.Refuse {
			end = goTo(s.refuse)
		}
		rules = append(rules, j.rules(judgementName(s.chain, n), end)...)
	}
	return rules
}
