package nft

import (
	"fmt"
	"net/netip"
	"time"
)

// Learned is the way of an address for the clients of one group, as the answer
// to a question taught it.
type Learned struct {
	Group int
	Addr  netip.Addr
	Way   Way           // DelWays does not read it
	TTL   time.Duration // how long it is believed; less than a second counts as one. DelWays does not read it
}

// SetWay has new flows of the group to addr leave that way for as long as ttl,
// counted anew if the address is known already; what it was known for is
// forgotten. It returns when the kernel has it. In a group that has no map of
// ways, because everything leaves directly, there is nothing to set.
func (t *Table) SetWay(group int, addr netip.Addr, way Way, ttl time.Duration) error {
	return t.SetWays([]Learned{{group, addr, way, ttl}})
}

// SetWays is SetWay for many addresses. Up to 512 are one transaction, unless
// one of them has another way at the time: then each is one.
func (t *Table) SetWays(learned []Learned) error {
	return t.learn("setting the ways of addresses", learned, false)
}

// DelWay has new flows of the group to addr go where those to unknown addresses
// go. The address need not be known.
func (t *Table) DelWay(group int, addr netip.Addr) error {
	return t.DelWays([]Learned{{Group: group, Addr: addr}})
}

// DelWays is DelWay for many addresses, in transactions as those of SetWays.
func (t *Table) DelWays(learned []Learned) error {
	return t.learn("deleting the ways of addresses", learned, true)
}

func (t *Table) learn(doing string, learned []Learned, gone bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ruleset == nil {
		return fmt.Errorf("%s: %w", doing, ErrNotInstalled)
	}
	groups := make([][]placement, 0, len(learned))
	for _, l := range learned {
		p, ok, err := t.ruleset.placed(l, gone)
		if err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		if ok {
			groups = append(groups, []placement{p})
		}
	}
	return t.settle(doing, groups)
}

// placed is the element of an address in the map of its group, if that has one.
func (r *Ruleset) placed(l Learned, gone bool) (p placement, ok bool, err error) {
	if l.Group < 0 || l.Group >= len(r.ways) {
		return placement{}, false, fmt.Errorf("there is no group %d among %d", l.Group, len(r.ways))
	}
	f, err := familyOf(l.Addr)
	if err != nil {
		return placement{}, false, err
	}
	if gone {
		l.Way = Relay // which every table knows
	}
	if err := r.knows(l.Way); err != nil {
		return placement{}, false, err
	}
	e := leads(addrValue(l.Addr), l.Way.verdict())
	e.timeout = max(l.TTL, time.Second)
	// Who deletes an address has usually set it: that it is there is the guess
	// by which a whole reload's deletions are one transaction.
	return placement{set: wayName(f, l.Group), element: e, there: gone, gone: gone}, r.ways[l.Group], nil
}

// Direct is an address that leaves directly for the clients of one group.
type Direct struct {
	Group int
	Addr  netip.Addr
	TTL   time.Duration // as that of Learned
}

// AddDirect is SetWay with DirectWay.
func (t *Table) AddDirect(group int, addr netip.Addr, ttl time.Duration) error {
	return t.SetWay(group, addr, DirectWay, ttl)
}

// AddDirects is SetWays with DirectWay.
func (t *Table) AddDirects(directs []Direct) error { return t.SetWays(learned(directs)) }

// DelDirect is DelWay.
func (t *Table) DelDirect(group int, addr netip.Addr) error { return t.DelWay(group, addr) }

// DelDirects is DelWays.
func (t *Table) DelDirects(directs []Direct) error { return t.DelWays(learned(directs)) }

func learned(directs []Direct) []Learned {
	all := make([]Learned, len(directs))
	for i, d := range directs {
		all[i] = Learned{d.Group, d.Addr, DirectWay, d.TTL}
	}
	return all
}
