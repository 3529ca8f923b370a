package nft

import (
	"fmt"
	"net/netip"
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

// standing is the elements of a fake address: which way, and for which address.
func (r *Ruleset) standing(fake, real netip.Addr, way Way) ([]placement, error) {
	f, err := familyOf(fake)
	if err != nil {
		return nil, err
	}
	if err := r.knows(way); err != nil {
		return nil, err
	}
	if !way.leavesDirectly() {
		return r.onlyLeads(f, fake, way.chain()), nil
	}
	if !f.has(real) {
		return nil, fmt.Errorf("%s is to leave for %q, which is no address of its family", fake, real)
	}
	if !r.hasFakeReal() {
		return nil, fmt.Errorf("%s cannot leave for %s: there are no interfaces", fake, real)
	}
	return []placement{
		{set: fakeWaySet + f.suffix(), element: leads(addrValue(fake), goTo(way.chain()))},
		{set: fakeRealSet + f.suffix(), element: stands(addrValue(fake), addrValue(real))},
	}, nil
}

// onlyLeads is the elements of a fake address that stands for no real one.
func (r *Ruleset) onlyLeads(f family, fake netip.Addr, chain string) []placement {
	group := []placement{{set: fakeWaySet + f.suffix(), element: leads(addrValue(fake), goTo(chain))}}
	if r.hasFakeReal() {
		group = append(group, placement{set: fakeRealSet + f.suffix(), element: stands(addrValue(fake), addrValue(fake)), gone: true})
	}
	return group
}

// hasFakeReal tells whether fake addresses can stand for real ones in the kernel.
func (r *Ruleset) hasFakeReal() bool { return len(r.interfaces) > 0 }

// AddFakes is AddFake for many pairs. Up to 512 are one transaction.
func (t *Table) AddFakes(pairs [][2]netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.addFakes(pairs)
}

// addFakes supposes that the addresses are new, or relayed already: then there
// is nothing to forget.
func (t *Table) addFakes(pairs [][2]netip.Addr) error {
	const doing = "adding fake addresses"
	return chunks(pairs, func(part [][2]netip.Addr) error {
		err := t.commitChange(doing, func(b *batch, _ *Ruleset) error {
			addFakes(b, part)
			return nil
		})
		if !misjudged(err) {
			return err
		}
		return t.settle(doing, t.ruleset.relayed(part, false))
	})
}

// addFakes has every address of the pairs relayed.
func addFakes(b *batch, pairs [][2]netip.Addr) {
	for _, f := range families() {
		var elements []element
		for _, pair := range pairs {
			for _, a := range pair {
				if f.has(a) {
					elements = append(elements, leads(addrValue(a), goTo(relayChain)))
				}
			}
		}
		b.addElements(set{name: fakeWaySet + f.suffix()}, 0, elements)
	}
}

// DelFakes has new flows to pairs of fake addresses refused again. They need
// not be known.
func (t *Table) DelFakes(pairs [][2]netip.Addr) error {
	const doing = "deleting fake addresses"
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ruleset == nil {
		return fmt.Errorf("%s: %w", doing, ErrNotInstalled)
	}
	return t.settle(doing, t.ruleset.relayed(pairs, true))
}

// relayed is the elements of pairs that are relayed, or gone.
func (r *Ruleset) relayed(pairs [][2]netip.Addr, gone bool) [][]placement {
	var groups [][]placement
	for _, pair := range pairs {
		for _, a := range pair {
			f, err := familyOf(a)
			if err != nil {
				continue // a pair may lack one
			}
			group := r.onlyLeads(f, a, relayChain)
			group[0].gone = gone
			groups = append(groups, group)
		}
	}
	return groups
}
