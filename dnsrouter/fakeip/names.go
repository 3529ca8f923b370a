package fakeip

import (
	"hash/maphash"
	"sync/atomic"
)

// entry is what is known of a slot beside its number.
type entry struct {
	name ref // none: nobody's
	// use has the second of the last answer in its lower bits or, while flows hold
	// the slot, how many; above them are the flags. All in one word can be read,
	// and stored, by those who only share the lock.
	use uint32
}

const (
	// told says that the kernel knows the slot's addresses.
	told = 1 << 31
	// asked says that the name was asked for again since it got the slot, or since
	// the clock hand came by. What happens within a second is one question: a
	// client asks for A and AAAA.
	asked = 1 << 30
	// held says that flows hold the slot, and that the lower bits count them. When
	// the last one ends the slot counts as answered then, so no second is lost.
	held = 1 << 29
	// maxSecond is the highest that the lower bits can tell: 17 years.
	maxSecond = held - 1
)

func (e *entry) told() bool     { return atomic.LoadUint32(&e.use)&told != 0 }
func (e *entry) held() bool     { return e.use&held != 0 }
func (e *entry) asked() bool    { return e.use&asked != 0 }
func (e *entry) second() uint32 { return e.use & maxSecond }

// answer takes note of an answer. Others may do the same meanwhile.
func (e *entry) answer(now uint32) {
	switch use := atomic.LoadUint32(&e.use); {
	case use&held != 0:
		atomic.OrUint32(&e.use, asked)
	case use&maxSecond != now:
		atomic.StoreUint32(&e.use, use&told|asked|now)
	}
}

// hold adds a flow.
func (e *entry) hold() {
	if !e.held() {
		e.use = e.use&^maxSecond | held
	}
	e.use++
}

// release takes a flow off.
func (e *entry) release(now uint32) {
	if e.use--; e.use&maxSecond == 0 {
		e.use = e.use&^held | now
	}
}

// names is the relation of slots and names, one to one: entries by slot, and an
// open-addressing table that finds slots by the hash of their names.
type names struct {
	pages []*[pageSize]entry // by Slot; slot 0 is nobody's. They grow without leaving old ones behind
	next  Slot               // that extend will give
	spare Slot               // slots from here to next never had a name
	index []cell             // its length is a power of two, of which at most 7/8 are used
	arena arena
	seed  maphash.Seed // a client must not be able to choose names that collide
	count int
	bytes int // of all names together
}

// pageSize is how many entries are allocated together: 8 KiB.
const pageSize = 1 << 10

// A cell of the index has a slot, of 24 bits, and behind it a byte of its name's
// hash, so that few names are compared in vain; 0: free.
type cell uint32

func cellOf(s Slot, hash uint64) cell { return cell(s)<<8 | cell(hash>>56) }

func (c cell) slot() Slot { return Slot(c >> 8) }

// mayBe says whether the name that has the hash can be the cell's.
func (c cell) mayBe(hash uint64) bool { return byte(c) == byte(hash>>56) }

func newNames() names {
	n := names{index: make([]cell, 256), seed: maphash.MakeSeed()}
	n.extend()
	n.spare = n.next
	return n
}

// extend adds a slot that stands for nothing yet.
func (n *names) extend() Slot {
	s := n.next
	if s%pageSize == 0 {
		n.pages = append(n.pages, new([pageSize]entry))
	}
	*n.entry(s) = entry{name: none}
	n.next++
	return s
}

// spend gives a slot that never had a name to whoever will put one there.
func (n *names) spend() Slot {
	if n.spare == n.next {
		n.extend()
	}
	n.spare++
	return n.spare - 1
}

// tell notes of the slots in [from, to) that the kernel knows them.
func (n *names) tell(from, to Slot) {
	for s := from; s < min(to, n.next); s++ {
		n.entry(s).use |= told
	}
}

// used are those of the slots in [from, to) that stand for a name, or that a new
// one may be about to get without being fresh.
func (n *names) used(from, to Slot) (slots []Slot) {
	for s := max(from, 1); s < min(to, n.next); s++ {
		if e := n.entry(s); e.name != none || e.told() || s >= n.spare {
			slots = append(slots, s)
		}
	}
	return slots
}

// entry is what is known of a slot that extend gave.
func (n *names) entry(s Slot) *entry { return &n.pages[s/pageSize][s%pageSize] }

func (n *names) has(s Slot) bool { return s < n.next && n.entry(s).name != none }

func (n *names) name(s Slot) string { return n.arena.name(n.entry(s).name) }

// find gives the name's slot, 0 if it has none.
func (n *names) find(name string) Slot {
	return n.index[n.place(name, n.hash(name))].slot()
}

// place is where the name's slot is in the index, or would be put.
func (n *names) place(name string, hash uint64) int {
	for i := n.home(hash); ; i = n.after(i) {
		if c := n.index[i]; c == 0 || c.mayBe(hash) && n.name(c.slot()) == name {
			return i
		}
	}
}

// home is where the search for a name begins.
func (n *names) home(hash uint64) int { return int(hash & uint64(len(n.index)-1)) }

func (n *names) hash(name string) uint64 { return maphash.String(n.seed, name) }

func (n *names) after(i int) int { return (i + 1) & (len(n.index) - 1) }

// put makes the name stand behind the slot. Neither may have a partner, and
// the index must have room.
func (n *names) put(s Slot, name string, now uint32) {
	hash, e := n.hash(name), n.entry(s)
	n.index[n.place(name, hash)] = cellOf(s, hash)
	*e = entry{name: n.arena.add(name), use: e.use&told | now}
	n.count++
	n.bytes += len(name)
}

// remove frees the slot from its name.
func (n *names) remove(s Slot) {
	name := n.name(s)
	n.unlink(n.place(name, n.hash(name)))
	chunk, sparse := n.arena.drop(n.entry(s).name)
	*n.entry(s) = entry{name: none}
	n.count--
	n.bytes -= len(name)
	if sparse {
		n.vacate(chunk)
	}
}

// unlink empties a place of the index and moves back those behind it that
// would no longer be found.
func (n *names) unlink(hole int) {
	mask := len(n.index) - 1
	for i := n.after(hole); n.index[i] != 0; i = n.after(i) {
		home := n.home(n.hash(n.name(n.index[i].slot())))
		if (i-home)&mask >= (i-hole)&mask { // its search passes the hole
			n.index[hole], hole = n.index[i], i
		}
	}
	n.index[hole] = 0
}

// vacate moves the names in use out of a chunk of the arena, and frees it.
func (n *names) vacate(chunk int) {
	for r, name := range n.arena.all(chunk) {
		if s := n.find(name); s != 0 && n.entry(s).name == r {
			n.entry(s).name = n.arena.add(name)
		}
	}
	n.arena.free(chunk)
}

// roomyIndex is an index that has room for one name more: the present one, or
// a larger one, and nothing is changed.
func (n *names) roomyIndex() []cell {
	if 8*(n.count+1) <= 7*len(n.index) {
		return n.index
	}
	larger := make([]cell, 2*len(n.index))
	mask := len(larger) - 1
	for _, c := range n.index {
		if c == 0 {
			continue
		}
		i := int(n.hash(n.name(c.slot()))) & mask
		for larger[i] != 0 {
			i = (i + 1) & mask
		}
		larger[i] = c
	}
	return larger
}
