package nft

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead/fairlead/gateway/policy"
)

// AddrWay is the way of the addresses of a prefix, if the policy does not need
// a name to tell it.
type AddrWay struct {
	Prefix netip.Prefix
	Way    Way
}

// validAddrs wants what Group.Addrs promises: the kernel would refuse overlaps
// without saying which.
func validAddrs(addrs []AddrWay, interfaces []Interface) error {
	known := &Ruleset{interfaces: interfaces}
	var errs []error
	for i, a := range addrs {
		switch p := a.Prefix; {
		case !p.IsValid() || p.Addr().Is4In6() || p != p.Masked():
			errs = append(errs, fmt.Errorf("%q is no prefix", p))
		case i > 0 && addrs[i-1].Prefix.Overlaps(p):
			errs = append(errs, fmt.Errorf("prefixes %s and %s overlap", addrs[i-1].Prefix, p))
		case i > 0 && !addrs[i-1].Prefix.Addr().Less(p.Addr()):
			errs = append(errs, fmt.Errorf("prefix %s comes behind %s", p, addrs[i-1].Prefix))
		}
		if err := known.knows(a.Way); err != nil {
			errs = append(errs, fmt.Errorf("prefix %s: %w", a.Prefix, err))
		}
	}
	return errors.Join(errs...)
}

// addressMap holds the group's addresses of one family, if there are any. It is
// named after its content: a map of that name never changes, and groups with
// the same addresses share it.
func (g Group) addressMap(f family) (s set, ok bool) {
	addrs := g.addrsOf(f)
	if g.Mode == policy.Off || len(addrs) == 0 {
		return set{}, false
	}
	sum, buf := sha256.New(), []byte(nil)
	for _, a := range addrs {
		buf = append(append(buf[:0], a.Prefix.Addr().AsSlice()...), byte(a.Prefix.Bits()), byte(a.Way))
		sum.Write(buf)
	}
	name := fmt.Sprintf("addr%s_%x", f.suffix(), sum.Sum(nil)[:6])
	return set{name: name, key: []datatype{f.datatype()}, verdicts: true, interval: true, content: fromAddrs, addrs: addrs}, true
}

// addrsOf are neighbours, because all are in order.
func (g Group) addrsOf(f family) []AddrWay {
	first := slices.IndexFunc(g.Addrs, func(a AddrWay) bool { return f.has(a.Prefix.Addr()) })
	if first < 0 {
		return nil
	}
	behind := slices.IndexFunc(g.Addrs[first:], func(a AddrWay) bool { return !f.has(a.Prefix.Addr()) })
	if behind < 0 {
		return g.Addrs[first:]
	}
	return g.Addrs[first : first+behind]
}

func addrElements(addrs []AddrWay) []element {
	elements := make([]element, len(addrs))
	for i, a := range addrs {
		elements[i] = prefixElement(a.Prefix)
		elements[i].verdict = new(a.Way.verdict())
	}
	return elements
}

// addressMaps are all that the ruleset has and the other one, if any, lacks.
func (r *Ruleset) addressMaps(lackedBy *Ruleset) []set {
	var maps []set
	for _, s := range r.sets {
		if s.content != fromAddrs {
			continue
		}
		if lackedBy != nil {
			if _, has := lackedBy.set(s.name); has {
				continue
			}
		}
		maps = append(maps, s)
	}
	return maps
}

// stage has the address maps that only the next ruleset has in the kernel,
// before a rule looks into them.
func (t *Table) stage(next *Ruleset, maps []set) error {
	if len(maps) == 0 {
		return nil
	}
	err := t.change("adding address maps", func(b *batch, installed *Ruleset) error {
		for _, i := range next.interfaces { // elements lead there
			if installed.chain(i.wayChain()) == nil {
				b.addChain(chain{name: i.wayChain()})
			}
		}
		for _, s := range maps {
			b.addSet(s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.fill(maps)
}

// unstage deletes what stage has done for a ruleset that was not installed.
func (t *Table) unstage(next *Ruleset, maps []set) error {
	if len(maps) == 0 {
		return nil
	}
	return t.change("deleting address maps", func(b *batch, installed *Ruleset) error {
		for _, s := range maps {
			b.addSet(s) // so that there is one to delete
			b.deleteSet(s.name)
		}
		for _, i := range next.interfaces {
			if installed.chain(i.wayChain()) == nil {
				b.addChain(chain{name: i.wayChain()})
				b.deleteChain(i.wayChain())
			}
		}
		return nil
	})
}

// fill adds the addresses of maps, in transactions small enough for this
// process's memory and for whoever waits for one in between.
func (t *Table) fill(maps []set) error {
	for _, s := range maps {
		err := chunks(s.addrs, func(part []AddrWay) error {
			return t.change("filling map "+s.name, func(b *batch, _ *Ruleset) error {
				b.addElements(s, 0, addrElements(part))
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
