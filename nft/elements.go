package nft

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// chunk is how many elements a transaction takes at most where it may be cut:
// at three messages and a hundred bytes for each of them it fits any socket.
const chunk = 512

// Direct is an address that leaves directly for the clients of one group.
type Direct struct {
	Group int
	Addr  netip.Addr
	TTL   time.Duration // how long it is believed; less than a second counts as one. DelDirects does not read it
}

// AddDirect has new flows of the group to addr leave directly for as long as
// ttl, counted anew if the address is known already. It returns when the kernel
// has it. In a group that sends everything directly there is nothing to add.
func (t *Table) AddDirect(group int, addr netip.Addr, ttl time.Duration) error {
	return t.AddDirects([]Direct{{group, addr, ttl}})
}

// AddDirects is AddDirect for many addresses. Up to 512 are one transaction.
func (t *Table) AddDirects(directs []Direct) error {
	return t.directs("adding direct addresses", directs, renew)
}

// DelDirect has new flows of the group to addr diverted again. The address need
// not be known.
func (t *Table) DelDirect(group int, addr netip.Addr) error {
	return t.DelDirects([]Direct{{Group: group, Addr: addr}})
}

// DelDirects is DelDirect for many addresses. Up to 512 are one transaction.
func (t *Table) DelDirects(directs []Direct) error {
	return t.directs("deleting direct addresses", directs, drop)
}

func (t *Table) directs(doing string, directs []Direct, apply func(b *batch, s set, elements []element)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return chunks(directs, func(part []Direct) error {
		return t.commitChange(doing, func(b *batch, installed *Ruleset) error {
			return wayElements(installed, part, func(s set, elements []element) { apply(b, s, elements) })
		})
	})
}

// wayElements sorts addresses by the map that they belong to.
func wayElements(installed *Ruleset, directs []Direct, each func(s set, elements []element)) error {
	byMap := map[string][]element{}
	var order []string
	for _, d := range directs {
		if d.Group < 0 || d.Group >= len(installed.ways) {
			return fmt.Errorf("there is no group %d among %d", d.Group, len(installed.ways))
		}
		if !installed.ways[d.Group] {
			continue
		}
		f, err := familyOf(d.Addr)
		if err != nil {
			return err
		}
		name := wayName(f, d.Group)
		if byMap[name] == nil {
			order = append(order, name)
		}
		e := leads(addrValue(d.Addr), goTo(directChain))
		e.timeout = max(d.TTL, time.Second)
		byMap[name] = append(byMap[name], e)
	}
	for _, name := range order {
		each(set{name: name}, byMap[name])
	}
	return nil
}

func familyOf(a netip.Addr) (family, error) {
	for _, f := range families() {
		if f.has(a) && !a.Is4In6() {
			return f, nil
		}
	}
	return family{}, fmt.Errorf("%q is no address of a family of ours", a)
}

// AddFakes is AddFake for many pairs. Up to 512 are one transaction.
func (t *Table) AddFakes(pairs [][2]netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fakes(pairs, addFakes)
}

// DelFakes has new flows to pairs of fake addresses refused again. They need
// not be known.
func (t *Table) DelFakes(pairs [][2]netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fakes(pairs, func(b *batch, part [][2]netip.Addr) {
		fakeElements(part, func(s set, elements []element) { drop(b, s, elements) })
	})
}

func (t *Table) fakes(pairs [][2]netip.Addr, apply func(b *batch, part [][2]netip.Addr)) error {
	return chunks(pairs, func(part [][2]netip.Addr) error {
		return t.commitChange("changing fake addresses", func(b *batch, _ *Ruleset) error {
			apply(b, part)
			return nil
		})
	})
}

func addFakes(b *batch, pairs [][2]netip.Addr) {
	fakeElements(pairs, func(s set, elements []element) { b.addElements(s, 0, elements) })
}

// fakeElements sorts pairs by family.
func fakeElements(pairs [][2]netip.Addr, each func(s set, elements []element)) {
	for _, f := range families() {
		var elements []element
		for _, pair := range pairs {
			for _, a := range pair {
				if f.has(a) {
					elements = append(elements, leads(addrValue(a), goTo(relayChain)))
				}
			}
		}
		each(set{name: fakeWaySet + f.suffix()}, elements)
	}
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

// SetLAN replaces the interfaces that are served. They need not exist.
func (t *Table) SetLAN(devices []string) error {
	return t.change("replacing the LAN interfaces", func(b *batch, _ *Ruleset) error {
		refill(b, lanSet, deviceElements(devices))
		return validDevices(devices)
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
