package nft

import (
	"fmt"
	"net/netip"

	"github.com/fairlead/fairlead/gateway/policy"
)

// chunk is how many elements a transaction takes at most where it may be cut:
// at three messages and a hundred bytes for each of them it fits any socket.
const chunk = 512

func familyOf(a netip.Addr) (family, error) {
	for _, f := range families() {
		if f.has(a) && !a.Is4In6() {
			return f, nil
		}
	}
	return family{}, fmt.Errorf("%q is no address of a family of ours", a)
}

// SetHome replaces the prefixes that are never diverted. They may overlap.
func (t *Table) SetHome(prefixes []netip.Prefix) error {
	return t.change("replacing the home prefixes", func(b *batch, _ *Ruleset) error {
		for _, f := range families() {
			refill(b, homeSet+f.suffix(), prefixElements(f, prefixes))
		}
		return validPrefixes(prefixes)
	})
}

// SetMembers replaces the MAC addresses and prefixes of Config.Members[i]. The
// prefixes may overlap.
func (t *Table) SetMembers(i int, macs []policy.MAC, prefixes []netip.Prefix) error {
	return t.change("replacing the members of a section", func(b *batch, installed *Ruleset) error {
		if i < 0 || i >= installed.people {
			return fmt.Errorf("there is no section %d among %d", i, installed.people)
		}
		refill(b, memberName(i, "mac"), macElements(macs))
		for _, f := range families() {
			refill(b, memberName(i, f.suffix()), prefixElements(f, prefixes))
		}
		return validPrefixes(prefixes)
	})
}

// refill replaces the elements of a set at once.
func refill(b *batch, name string, elements []element) {
	b.flushSet(name)
	b.addElements(set{name: name}, 0, elements)
}

// chunks calls do for parts of a list, in order, up to the first error.
func chunks[T any](all []T, do func(part []T) error) error {
	for len(all) > 0 {
		n := min(len(all), chunk)
		if err := do(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}
