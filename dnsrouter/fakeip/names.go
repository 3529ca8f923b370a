package fakeip

import "hash/maphash"

// entry is what is known of a slot beside its number.
type entry struct {
	name  ref    // none: nobody's
	last  uint32 // second of the last answer, and asked
	flows uint32 // how many hold the slot, and told
}

const (
	// asked, in entry.last, says that the name was asked for again since it got
	// the slot, or since the clock hand came by. What happens within a second
	// is one question: a client asks for A and AAAA. It shares the word with
	// the time so that one atomic store sets both.
	asked = 1 << 31
	// told, in entry.flows, says that the kernel knows the slot's addresses.
	told = 1 << 31
)

func (e *entry) held() bool { return e.flows&^told != 0 }

// names is the relation of slots and names, one to one: an array by slot, and
// an open-addressing table that finds slots by the hash of their names.
type names struct {
	slots []entry // by Slot; slot 0 is nobody's
	index []Slot  // its length is a power of two, and at most half of it is used; 0: free
	arena arena
	seed  maphash.Seed // a client must not be able to choose names that collide
	count int
	bytes int // of all names together
}

func newNames() names {
	return names{
		slots: []entry{{name: none}},
		index: make([]Slot, 256),
		seed:  maphash.MakeSeed(),
	}
}

// next is the slot that extend will give.
func (n *names) next() Slot { return Slot(len(n.slots)) }

// extend adds a slot that stands for nothing yet.
func (n *names) extend() Slot {
	n.slots = append(n.slots, entry{name: none})
	return n.next() - 1
}

func (n *names) has(s Slot) bool { return s < n.next() && n.slots[s].name != none }

func (n *names) name(s Slot) string { return n.arena.name(n.slots[s].name) }

// find gives the name's slot, 0 if it has none.
func (n *names) find(name string) Slot {
	return n.index[n.place(name)]
}

// place is where the name's slot is in the index, or would be put.
func (n *names) place(name string) int {
	for i := n.home(name); ; i = n.after(i) {
		if s := n.index[i]; s == 0 || n.name(s) == name {
			return i
		}
	}
}

// home is where the search for a name begins.
func (n *names) home(name string) int {
	return n.hash(name) & (len(n.index) - 1)
}

func (n *names) hash(name string) int { return int(uint32(maphash.String(n.seed, name)) >> 1) }

func (n *names) after(i int) int { return (i + 1) & (len(n.index) - 1) }

// put makes the name stand behind the slot. Neither may have a partner, and
// the index must have room.
func (n *names) put(s Slot, name string) {
	n.index[n.place(name)] = s
	n.slots[s] = entry{name: n.arena.add(name)}
	n.count++
	n.bytes += len(name)
}

// remove frees the slot from its name.
func (n *names) remove(s Slot) {
	name := n.name(s)
	n.unlink(n.place(name))
	chunk, sparse := n.arena.drop(n.slots[s].name)
	n.slots[s] = entry{name: none}
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
		home := n.home(n.name(n.index[i]))
		if (i-home)&mask >= (i-hole)&mask { // its search passes the hole
			n.index[hole], hole = n.index[i], i
		}
	}
	n.index[hole] = 0
}

// vacate moves the names in use out of a chunk of the arena, and frees it.
func (n *names) vacate(chunk int) {
	for r, name := range n.arena.all(chunk) {
		if s := n.find(name); s != 0 && n.slots[s].name == r {
			n.slots[s].name = n.arena.add(name)
		}
	}
	n.arena.free(chunk)
}

// roomyIndex is an index that has room for one name more: the present one, or
// a larger one, and nothing is changed.
func (n *names) roomyIndex() []Slot {
	if 2*(n.count+1) <= len(n.index) {
		return n.index
	}
	larger := make([]Slot, 2*len(n.index))
	mask := len(larger) - 1
	for _, s := range n.index {
		if s == 0 {
			continue
		}
		i := n.hash(n.name(s)) & mask
		for larger[i] != 0 {
			i = (i + 1) & mask
		}
		larger[i] = s
	}
	return larger
}
