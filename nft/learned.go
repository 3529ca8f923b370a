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

	// First says that the group knows no way of the address, so that none need be
	// forgotten: a message to the kernel in place of three and of two more for each
	// other way.
	First bool
}

// SetWay has new flows of the group to addr leave that way for as long as ttl,
// counted anew if the address is known already; what it was known for is
// forgotten. It returns when the kernel has it. In a group that has no sets of
// addresses, because everything leaves directly, there is nothing to set.
func (t *Table) SetWay(group int, addr netip.Addr, way Way, ttl time.Duration) error {
	return t.SetWays([]Learned{{Group: group, Addr: addr, Way: way, TTL: ttl}})
}

// SetWays is SetWay for many addresses, in as few transactions as hold them.
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
		group, err := t.ruleset.placed(l, gone)
		if err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		groups = append(groups, group)
	}
	return t.settle(doing, groups)
}

// placed is the address in the set of its way, and in no other, if its group has any.
func (r *Ruleset) placed(l Learned, gone bool) ([]placement, error) {
	if l.Group < 0 || l.Group >= len(r.ways) {
		return nil, fmt.Errorf("there is no group %d among %d", l.Group, len(r.ways))
	}
	f, err := familyOf(l.Addr)
	if err != nil {
		return nil, err
	}
	if err := r.knows(l.Way); err != nil && !gone {
		return nil, err
	}
	if !r.ways[l.Group] {
		return nil, nil
	}
	e := element{key: addrValue(l.Addr), timeout: max(l.TTL, time.Second)}
	if l.First && !gone {
		return []placement{{set: wayName(f, l.Group, l.Way), element: e, first: true}}, nil
	}
	var group []placement
	for _, w := range learnable(r.interfaces) {
		group = append(group, placement{set: wayName(f, l.Group, w), element: e, gone: gone || w != l.Way})
	}
	return group, nil
}
