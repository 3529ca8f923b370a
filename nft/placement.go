package nft

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// placement is an element that a set or map shall have or, if gone, shall not
// have, whatever it says of the key now. Kernels before 6.3 cannot be told just
// that: they refuse to add a key of a map that stands for something else, and to
// delete one that is absent.
type placement struct {
	set     string
	element element
	gone    bool
	first   bool // the key is absent for sure
	there   bool // supposed to be in the map, perhaps with another value; else to be absent or the same
}

// maxPlacements bounds a transaction that may be cut: at three messages and
// fifty bytes for each of them it fits any socket.
const maxPlacements = 2048

// settle has placements in the kernel. Those of one group belong together: they
// are never in different transactions. As many groups share one as fit, if what
// is supposed of keys of maps holds; else each group is one. Of what is said
// twice of a key, the later holds.
func (t *Table) settle(doing string, groups [][]placement) error {
	for len(groups) > 0 {
		n := fitting(groups)
		if err := t.settleTogether(doing, groups[:n]); err != nil {
			return err
		}
		groups = groups[n:]
	}
	return nil
}

// fitting is how many of the groups make up a transaction.
func fitting(groups [][]placement) int {
	n, sum := 1, len(groups[0])
	for n < len(groups) && sum+len(groups[n]) <= maxPlacements {
		sum += len(groups[n])
		n++
	}
	return n
}

func (t *Table) settleTogether(doing string, groups [][]placement) error {
	err := t.commitChange(doing, func(b *batch, _ *Ruleset) error {
		place(b, latest(slices.Concat(groups...)))
		return nil
	})
	if !misjudged(err) {
		return err
	}
	for _, group := range groups {
		if err := t.settleGroup(doing, group); err != nil {
			return err
		}
	}
	return nil
}

// latest leaves out what is said of a key before the last time.
func latest(all []placement) []placement {
	type spot struct{ set, key string }
	kept, at := make([]placement, 0, len(all)), make(map[spot]int, len(all))
	for _, p := range all {
		where := spot{p.set, string(p.element.key.data)}
		if i, ok := at[where]; ok {
			kept[i] = p
			continue
		}
		at[where] = len(kept)
		kept = append(kept, p)
	}
	return kept
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
	for _, name := range setsOf(all) {
		s := set{name: name}
		b.addElements(s, 0, chosenOf(all, name, func(p *placement) bool { return p.outdated() && !p.there }))
		b.deleteElements(s, chosenOf(all, name, (*placement).outdated))
		b.addElements(s, 0, chosenOf(all, name, func(p *placement) bool { return !p.gone }))
	}
}

// setsOf are the sets of placements, each once.
func setsOf(all []placement) (names []string) {
	for i := range all {
		if !slices.Contains(names, all[i].set) {
			names = append(names, all[i].set)
		}
	}
	return names
}

// chosenOf are the elements of one set that are wanted.
func chosenOf(all []placement, name string, wanted func(*placement) bool) (elements []element) {
	for i := range all {
		if p := &all[i]; p.set == name && wanted(p) {
			elements = append(elements, p.element)
		}
	}
	return elements
}

// outdated tells of an element whose key must go first, even if it comes back.
func (p *placement) outdated() bool { return p.gone || p.element.changes() && !p.first }

// changes tells whether the key alone does not say all of the element.
func (e element) changes() bool { return e.timeout != 0 || e.value != nil }
