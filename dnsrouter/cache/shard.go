package cache

import (
	"sync"
	"unsafe"
)

// shard is one of the cache's parts: a ring of entries and the index to them.
type shard struct {
	mu      sync.Mutex // guards the fields below
	ring    []byte
	head    int  // where the next entry is written
	tail    int  // where the oldest entry lies
	wrapped bool // head has returned to the ring's start, and tail has not yet
	end     int  // of the entries between tail and the ring's end, when wrapped

	index []uint32
	count int // entries that the index leads to
}

const (
	// overhead is what the cache takes beside rings and indexes.
	overhead = int(unsafe.Sizeof(Cache{})) + maxShards*int(unsafe.Sizeof(shard{}))

	// bytesPerPlace divides a shard's bytes between ring and index: one place
	// of four bytes for so many bytes of both. Usual answers take 150 to 250
	// with key and header, so the ring is full before the index is.
	bytesPerPlace = 128
)

func (s *shard) init(bytes int) {
	s.index = make([]uint32, bytes/bytesPerPlace)
	s.ring = make([]byte, bytes-4*len(s.index))
}

func (s *shard) get(hash uint32, key, dst []byte, now int64) ([]byte, State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.find(hash, key)
	if !found {
		return dst, Miss
	}
	e := s.entry(i)
	state, age := e.state(now)
	if state == Miss {
		return dst, Miss
	}
	if e.ask(age) {
		state = Ending
	}
	return e.appendMessage(dst, state, age), state
}

func (s *shard) peek(hash uint32, key []byte, now int64) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.find(hash, key)
	if !found {
		return Miss
	}
	state, _ := s.entry(i).state(now)
	return state
}

func (s *shard) put(a answer) {
	size := a.size()
	keep := a.keepable() && size <= len(s.ring)/4

	s.mu.Lock()
	defer s.mu.Unlock()
	if i, found := s.find(a.hash, a.key); found {
		if e := s.entry(i); keep && len(e) == size { // as most renewals are: the ring need not turn for them
			a.write(e)
			e[askedAt] = 1 // else it would not have been renewed
			return
		}
		s.unlink(i)
	}
	if !keep {
		return
	}
	for 4*(s.count+1) > 3*len(s.index) || !s.reserve(size) {
		s.retire(a.stored)
	}
	a.write(s.ring[s.head : s.head+size])
	s.link(a.hash, s.head)
	s.head += size
}

// reserve makes sure that so many bytes are free at head, which may return to
// the start of the ring for it.
func (s *shard) reserve(size int) bool {
	if s.wrapped {
		return s.tail-s.head >= size
	}
	if len(s.ring)-s.head >= size {
		return true
	}
	if s.tail < size {
		return false
	}
	s.end, s.head, s.wrapped = s.head, 0, true
	s.unwrap()
	return true
}

// unwrap lets the tail follow the head to the start of the ring once nothing
// lies between it and the ring's end.
func (s *shard) unwrap() {
	if s.wrapped && s.tail == s.end {
		s.tail, s.wrapped = 0, false
	}
}

// retire takes the oldest entry out of the ring. If it was asked for and has
// time left to live, it goes back in at the head: what it leaves is room enough.
func (s *shard) retire(now int64) {
	at := s.tail
	e := s.entryAt(at)
	s.tail += len(e)
	s.unwrap()
	i, found := s.placeOf(e.hash(), at)
	if !found { // it was replaced
		return
	}
	if state, _ := e.state(now); state == Miss || e[askedAt] == 0 {
		s.unlink(i)
		return
	}
	e[askedAt] = 0
	s.reserve(len(e))
	s.head += copy(s.ring[s.head:], e)
	s.index[i] = uint32(s.head-len(e)) + 1
}

// find looks for a key in the index.
func (s *shard) find(hash uint32, key []byte) (place int, found bool) {
	for i := s.home(hash); s.index[i] != 0; i = s.after(i) {
		if s.entry(i).is(hash, key) {
			return i, true
		}
	}
	return 0, false
}

// placeOf looks for the place that leads to an offset in the ring.
func (s *shard) placeOf(hash uint32, at int) (place int, found bool) {
	for i := s.home(hash); s.index[i] != 0; i = s.after(i) {
		if s.index[i] == uint32(at)+1 {
			return i, true
		}
	}
	return 0, false
}

// link lets the index lead to an entry; it has a free place.
func (s *shard) link(hash uint32, at int) {
	i := s.home(hash)
	for s.index[i] != 0 {
		i = s.after(i)
	}
	s.index[i] = uint32(at) + 1
	s.count++
}

// unlink empties a place of the index and moves back those behind it that
// would no longer be found.
func (s *shard) unlink(hole int) {
	for i := s.after(hole); s.index[i] != 0; i = s.after(i) {
		if home := s.home(s.entry(i).hash()); s.distance(home, i) >= s.distance(hole, i) {
			s.index[hole], hole = s.index[i], i
		}
	}
	s.index[hole] = 0
	s.count--
}

// home is where the search for a hash begins.
func (s *shard) home(hash uint32) int {
	return int(uint64(hash) * uint64(len(s.index)) >> 32)
}

func (s *shard) after(i int) int {
	if i+1 == len(s.index) {
		return 0
	}
	return i + 1
}

// distance is how far b is behind a, going around.
func (s *shard) distance(a, b int) int {
	if b < a {
		return b - a + len(s.index)
	}
	return b - a
}

// entry is what a place of the index leads to.
func (s *shard) entry(place int) entry { return s.entryAt(int(s.index[place] - 1)) }

func (s *shard) entryAt(at int) entry {
	e := entry(s.ring[at:])
	size := e.size()
	return e[:size:size]
}
