package nft

import (
	"fmt"

	"github.com/fairlead/fairlead/nft/mark"
)

// Way is how a new flow leaves. All but Refuse have the number of the mark
// that the flow then bears; 3 to 15 are the interfaces of Config.Interfaces.
type Way uint8

// The ways that every table has.
const (
	Refuse    Way = 0
	Relay     Way = 1 // the daemon carries it, and knows how
	DirectWay Way = 2
)

// InterfaceWay is the way through the interface of that number.
func InterfaceWay(n int) Way { return Way(n) }

// Interface is a way through a device other than that of the main routing
// table: a tunnel, a second WAN. Policy routing leads there what has its mark.
type Interface struct {
	N      int    // its number, 3 to 15: the part of the mark that is ours
	Device string // it need not exist yet
	Masq   bool   // what leaves there gets the device's own address
}

func (i Interface) mark() uint32 {
	m, _ := mark.Interface(i.N - mark.FirstInterface)
	return m
}

func (i Interface) wayChain() string { return InterfaceWay(i.N).chain() }

func (i Interface) restoreChain() string { return fmt.Sprintf("restore%d", i.N) }

// chain is where flows of the way go.
func (w Way) chain() string {
	switch w {
	case Refuse:
		return refuseChain
	case Relay:
		return relayChain
	case DirectWay:
		return directChain
	}
	return fmt.Sprintf("w%d", w)
}

// verdict is the way as what the address of a flow says. What must be relayed goes
// back to the chain that asked, because the daemon gets flows of clients and
// those of the router itself in different manners.
func (w Way) verdict() verdict {
	if w == Relay {
		return goBack()
	}
	return goTo(w.chain())
}

// The kernel walks every element of every map of verdicts in each transaction
// that adds one that jumps (nft_table_validate). So what is learned at run time
// is in plain sets, one for each way, and the rules have the verdicts.

// learnable are the ways that an address can be learned to have.
func learnable(interfaces []Interface) []Way {
	ways := []Way{DirectWay}
	for _, i := range interfaces {
		ways = append(ways, InterfaceWay(i.N))
	}
	return append(ways, Relay, Refuse)
}

// standable are the ways of fake addresses, in the order in which rules look for
// them: in none of their sets, one is refused. Relay is the last, so that one may
// be there beside another. Without interfaces none stands for a real address in
// the kernel.
func standable(interfaces []Interface) []Way {
	if len(interfaces) == 0 {
		return []Way{Relay}
	}
	ways := []Way{DirectWay}
	for _, i := range interfaces {
		ways = append(ways, InterfaceWay(i.N))
	}
	return append(ways, Relay)
}

// wayName is of the set of a group's addresses that have the way.
func wayName(f family, group int, w Way) string {
	name := fmt.Sprintf("way%s_g%d", f.suffix(), group)
	if w == DirectWay {
		return name
	}
	return name + "_" + w.chain()
}

// fakeWayName is of the set of fake addresses that have the way.
func fakeWayName(f family, w Way) string {
	if w == Relay {
		return fakeWaySet + f.suffix()
	}
	return fakeWaySet + f.suffix() + "_" + w.chain()
}

// waySet holds addresses of the family that have the way, on the device that
// it is of.
func waySet(name string, f family, w Way, interfaces []Interface) set {
	s := set{name: name, key: []datatype{f.datatype()}}
	for _, i := range interfaces {
		if InterfaceWay(i.N) == w {
			s.device = i.Device
		}
	}
	return s
}

// leavesDirectly tells the ways of flows that never enter the daemon.
func (w Way) leavesDirectly() bool { return w >= DirectWay }

// knows tells whether the table has a chain for the way.
func (r *Ruleset) knows(w Way) error {
	if w <= DirectWay {
		return nil
	}
	for _, i := range r.interfaces {
		if InterfaceWay(i.N) == w {
			return nil
		}
	}
	return fmt.Errorf("there is no interface %d", w)
}
