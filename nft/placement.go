package nft

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// placement is an element that a map shall have or, if gone, shall not have,
// whatever it says of the key now. Kernels before 6.3 cannot be told just that:
// they refuse to add a key that leads elsewhere, and to delete one that is absent.
type placement struct {
	set     string
	element element
	gone    bool
	there   bool // supposed to be in the map, perhaps with another value; else to be absent or the same
}

// settle has placements in the kernel. Those of one group belong together: they
// are never in different transactions. All are one transaction, up to 512 groups,
// if what is supposed of them holds; else each group is one.
func (t *Table) settle(doing string, groups [][]placement) error {
	return chunks(groups, func(part [][]placement) error {
		err := t.commitChange(doing, func(b *batch, _ *Ruleset) error {
			place(b, slices.Concat(part...))
			return nil
		})
		if !misjudged(err) {
			return err
		}
		for _, group := range part {
			if err := t.settleGroup(doing, group); err != nil {
				return err
			}
		}
		return nil
	})
}

// settleGroup learns from each refusal whether one of the keys is there. That
// ends, unless somebody else changes the map meanwhile.
func (t *Table) settleGroup(doing string, group []placement) (err error) {
	group = slices.Clone(group)
	for range 2 * (len(group) + 1) {
		var owner []int // of each message
		err = t.commitChange(doing, func(b *batch, _ *Ruleset) error {
			owner = owner[:0]
			for i := range group {
				place(b, group[i:i+1])
				for len(owner) < len(b.messages) {
					owner = append(owner, i)
				}
			}
			return nil
		})
		var refused *refusedError
		if !misjudged(err) || !errors.As(err, &refused) || refused.place < 0 || refused.place >= len(owner) {
			return err
		}
		group[owner[refused.place]].there = !errors.Is(err, unix.ENOENT)
	}
	return err
}

// misjudged tells that a key was there, or was not, against what was supposed.
// Kernels say of a key that leads elsewhere that it exists, or that it is busy.
func misjudged(err error) bool {
	return errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOENT)
}

// place adds what may be absent, so that it can be deleted, deletes it, so that
// its time counts anew, and adds what shall stay.
func place(b *batch, all []placement) {
	for len(all) > 0 {
		s := set{name: all[0].set}
		var absent, every, stay []element
		rest := all[:0:0]
		for _, p := range all {
			if p.set != s.name {
				rest = append(rest, p)
				continue
			}
			every = append(every, p.element)
			if !p.there {
				absent = append(absent, p.element)
			}
			if !p.gone {
				stay = append(stay, p.element)
			}
		}
		b.addElements(s, 0, absent)
		b.deleteElements(s, every)
		b.addElements(s, 0, stay)
		all = rest
	}
}
