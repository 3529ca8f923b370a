package fakeip

import "net/netip"

// BlockSlots is how many slots a block has. Their addresses are one prefix of each
// family, which the kernel can be told of at once.
const BlockSlots = 1 << blockBits

const blockBits = 8

// Block gives the prefixes of the block of slots that begins with first. One of a
// family without a range is the zero Prefix.
func (p *Pool) Block(first Slot) (v4, v6 netip.Prefix) { return p.ranges.block(first) }

// Reserve makes the next block ready for new names, to be told to the kernel
// before they come, and then to ToldBlock. Its first slots may have names already.
// Without ok there is none any more.
func (p *Pool) Reserve() (first Slot, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first = blockOf(p.names.next)
	if p.names.next > p.ranges.last || !p.ranges.holds(first) {
		return 0, false
	}
	for p.names.next < first+BlockSlots && p.names.next <= p.ranges.last {
		p.names.extend()
	}
	return first, true
}

// ToldBlock notes that the kernel knows a block of addresses: the names that get
// them are not fresh.
func (p *Pool) ToldBlock(first Slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names.tell(first, first+BlockSlots)
}

// Unreserve takes back what no name has got of what Reserve made ready: new names
// that get it are fresh. It gives the blocks that the kernel is to forget, and those
// of their slots that it must be told of one by one before that. It is not to be
// told what Known gives in between.
func (p *Pool) Unreserve() (blocks, used []Slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names.spare == p.names.next {
		return nil, nil
	}
	first := blockOf(p.names.spare)
	for s := first; s < p.names.next; s += BlockSlots {
		blocks = append(blocks, s)
	}
	for s := max(first, 1); s < p.names.spare; s++ {
		used = append(used, s)
	}
	p.names.next = p.names.spare
	return blocks, used
}

// Known gives all that the kernel must know when its table is made anew: blocks
// whose slots all have names or are reserved, and the others that have.
func (p *Pool) Known() (blocks, single []Slot) {
	p.adding.Lock() // so that no slot was taken for a name that does not have it yet
	defer p.adding.Unlock()
	p.mu.RLock()
	defer p.mu.RUnlock()
	for first := Slot(0); first < p.names.next; first += BlockSlots {
		used := p.names.used(first, first+BlockSlots)
		if len(used) == p.ranges.slotsIn(first) {
			blocks = append(blocks, first)
		} else {
			single = append(single, used...)
		}
	}
	return blocks, single
}

// blockOf is the first slot of the block that a slot is in.
func blockOf(s Slot) Slot { return s &^ (BlockSlots - 1) }
