package nft

import (
	"fmt"
	"net/netip"
	"slices"
)

// SetFake says what new flows to a fake address become: those to be relayed, or
// refused, need no real address; those that leave directly or through an
// interface are for the real one, in the kernel. What it stood for is forgotten.
func (t *Table) SetFake(fake, real netip.Addr, way Way) error {
	const doing = "setting what a fake address stands for"
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ruleset == nil {
		return fmt.Errorf("%s: %w", doing, ErrNotInstalled)
	}
	group, err := t.ruleset.standing(fake, real, way)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return t.settle(doing, [][]placement{group})
}

// standing is where a fake address is: in the set of its way, and in the map to
// the address that it stands for.
func (r *Ruleset) standing(fake, real netip.Addr, way Way) ([]placement, error) {
	f, err := familyOf(fake)
	if err != nil {
		return nil, err
	}
	if err := r.knows(way); err != nil {
		return nil, err
	}
	if !way.leavesDirectly() {
		return r.onlyLeads(f, fake, way), nil
	}
	if !f.has(real) {
		return nil, fmt.Errorf("%s is to leave for %q, which is no address of its family", fake, real)
	}
	if !r.hasFakeReal() {
		return nil, fmt.Errorf("%s cannot leave for %s: there are no interfaces", fake, real)
	}
	stands := placement{set: fakeRealSet + f.suffix(), element: stands(addrValue(fake), addrValue(real))}
	return append(r.leading(f, fake, way), stands), nil
}

// onlyLeads is where a fake address is that stands for no real one.
func (r *Ruleset) onlyLeads(f family, fake netip.Addr, way Way) []placement {
	return append(r.leading(f, fake, way), r.standsForNone(f, fake)...)
}

// standsForNone takes a fake address out of the map to the real ones, if there is one.
func (r *Ruleset) standsForNone(f family, fake netip.Addr) []placement {
	if !r.hasFakeReal() {
		return nil
	}
	return []placement{{set: fakeRealSet + f.suffix(), element: stands(addrValue(fake), addrValue(fake)), gone: true}}
}

// leading is a fake address in the set of its way, and in no other; what is
// refused is in none.
func (r *Ruleset) leading(f family, fake netip.Addr, way Way) []placement {
	var group []placement
	for _, w := range standable(r.interfaces) {
		group = append(group, placement{set: fakeWayName(f, w), element: element{key: addrValue(fake)}, gone: w != way})
	}
	return group
}

// hasFakeReal tells whether fake addresses can stand for real ones in the kernel.
func (r *Ruleset) hasFakeReal() bool { return len(r.interfaces) > 0 }

// addFakes is AddFake for many pairs, in as few transactions as hold them. It
// supposes that the addresses are new, or relayed already. Those in other sets
// stand for real ones, which the kernel refuses to be told otherwise. The caller
// holds the lock.
func (t *Table) addFakes(pairs [][2]netip.Addr) error {
	const doing = "adding fake addresses"
	return chunks(pairs, func(part [][2]netip.Addr) error {
		err := t.commitChange(doing, func(b *batch, installed *Ruleset) error {
			place(b, latest(slices.Concat(ofEach(part, installed.newlyRelayed)...)))
			return nil
		})
		if !misjudged(err) {
			return err
		}
		return t.settle(doing, ofEach(part, func(f family, fake netip.Addr) []placement {
			return t.ruleset.onlyLeads(f, fake, Relay)
		}))
	})
}

// newlyRelayed is where a fake address is that never stood for a real one.
func (r *Ruleset) newlyRelayed(f family, fake netip.Addr) []placement {
	relayed := placement{set: fakeWayName(f, Relay), element: element{key: addrValue(fake)}}
	return append([]placement{relayed}, r.standsForNone(f, fake)...)
}

// ofEach is a group for each of the pairs.
func ofEach(pairs [][2]netip.Addr, placed func(f family, fake netip.Addr) []placement) [][]placement {
	groups := make([][]placement, 0, len(pairs))
	for _, pair := range pairs {
		var group []placement
		for _, a := range pair {
			if f, err := familyOf(a); err == nil { // a pair may lack one
				group = append(group, placed(f, a)...)
			}
		}
		groups = append(groups, group)
	}
	return groups
}
