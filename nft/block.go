package nft

import (
	"fmt"
	"net"
	"net/netip"
)

// blockBits is how many bits of an address tell it from the others of its block.
const blockBits = 8

// Fakes are fake addresses whose new flows are relayed: of whole blocks, and single
// ones. A pair is of both families; either may be the zero value.
type Fakes struct {
	Blocks [][2]netip.Prefix // /24 and /120
	Pairs  [][2]netip.Addr
}

// cut takes off as many as a transaction takes.
func (f Fakes) cut() (now, later Fakes) {
	blocks, pairs := min(len(f.Blocks), chunk), min(len(f.Pairs), chunk)
	return Fakes{f.Blocks[:blocks], f.Pairs[:pairs]}, Fakes{f.Blocks[blocks:], f.Pairs[pairs:]}
}

func (f Fakes) none() bool { return len(f.Blocks)+len(f.Pairs) == 0 }

// add has all of them relayed that lead nowhere yet.
func (f Fakes) add(b *batch) error {
	for _, at := range families() {
		var elements []element
		for _, pair := range f.Pairs {
			for _, a := range pair {
				if at.has(a) {
					elements = append(elements, element{key: addrValue(a)})
				}
			}
		}
		b.addElements(set{name: fakeWayName(at, Relay)}, 0, elements)
		blocks, err := blockElements(at, f.Blocks)
		if err != nil {
			return err
		}
		b.addElements(blockSet(at), 0, blocks)
	}
	return nil
}

// blockSet has the first address of each block that is relayed as a whole, but for
// those of its addresses that are in the set of another way.
func blockSet(f family) set {
	return set{name: fakeBlockSet + f.suffix(), key: []datatype{f.datatype()}, content: fromFakes}
}

// inBlock is the step that looks for a fake address there.
func inBlock(f family) in {
	bits := int(f.size) * 8
	mask, _ := netip.AddrFromSlice(net.CIDRMask(bits-blockBits, bits))
	return in{field: originalTarget(f).and(addrValue(mask)), set: blockSet(f).name}
}

func blockElements(f family, blocks [][2]netip.Prefix) (elements []element, err error) {
	for _, pair := range blocks {
		for _, p := range pair {
			if !f.has(p.Addr()) {
				continue
			}
			if p.Addr().BitLen()-p.Bits() != blockBits || p != p.Masked() {
				return nil, fmt.Errorf("%s is no block of fake addresses", p)
			}
			elements = append(elements, element{key: addrValue(p.Addr())})
		}
	}
	return elements, nil
}

// AddFakeBlock has new flows to a whole block of fake addresses relayed, /24 and
// /120, but for those that lead elsewhere. Either may be the zero Prefix. A known
// one is fine.
func (t *Table) AddFakeBlock(v4, v6 netip.Prefix) error {
	return t.change("adding a block of fake addresses", func(b *batch, _ *Ruleset) error {
		return Fakes{Blocks: [][2]netip.Prefix{{v4, v6}}}.add(b)
	})
}

// DelFakeBlocks has new flows to blocks refused again, but for those of their
// addresses that are used: these get to be known one by one, by a transaction
// before that, since a look-up during one that did both could find neither. Which
// they are is asked when nobody else can change the table. They need not be known.
func (t *Table) DelFakeBlocks(which func() (blocks [][2]netip.Prefix, used [][2]netip.Addr)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	blocks, used := which()
	err := t.commitChange("adding fake addresses", func(b *batch, _ *Ruleset) error { return Fakes{Pairs: used}.add(b) })
	if err != nil {
		return err
	}
	return t.commitChange("deleting blocks of fake addresses", func(b *batch, _ *Ruleset) error {
		for _, f := range families() {
			elements, err := blockElements(f, blocks)
			if err != nil {
				return err
			}
			b.addElements(blockSet(f), 0, elements) // so that there is one to delete
			b.deleteElements(blockSet(f), elements)
		}
		return nil
	})
}
