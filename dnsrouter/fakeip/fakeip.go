// Package fakeip hands out addresses that stand for names, one IPv4 and one
// IPv6 address each, and remembers them over a crash.
//
// A name's two addresses share a slot: the slot's number is the distance from
// the start of either range. What is kept for a slot are two words and a place or
// two in an index, so a full 198.18.0.0/15 costs two megabytes and its names' own
// bytes.
package fakeip

import (
	"fmt"
	"iter"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"
)

// Config is what a Pool is told.
type Config struct {
	Prefix4, Prefix6 netip.Prefix     // the ranges; one of them may be the zero Prefix, then names have no address of that family
	MaxNames         int              // bounds the names kept at once; 0: as many as the ranges have addresses
	Journal          string           // path of the append-only journal, on a file system in memory; empty: none
	Snapshot         string           // path of a copy that outlives a reboot: written by Close, read when there is no journal; empty: none
	Keep             time.Duration    // a slot is not reused for this long after its last answer or flow: the answers' TTL and a grace
	Now              func() time.Time // nil: time.Now
	Log              *slog.Logger     // nil: silent
}

// Slot is the place of a name in the ranges: its addresses are the first
// address of each range plus the slot. Slot 0, the network's own address, is
// never used, and neither is the broadcast address.
type Slot uint32

// maxSlots bounds the slots of ranges that have more addresses than anyone
// has memory for names.
const maxSlots = 1 << 24

// maxKeep bounds Config.Keep, so that an instant and it fit a word of the tables.
const maxKeep = 365 * 24 * time.Hour

// Stats counts what a Pool holds and what happened to it since Open.
type Stats struct {
	Names     int    // names that have addresses now
	Slots     int    // names that could have
	Reserved  int    // slots that Reserve made ready and that no name has got
	Exhausted uint64 // questions for which no slot was free
	Reused    uint64 // slots taken from one name and given to another
	Dropped   uint64 // damaged stretches of the journal that were left out by Open
}

// Pool gives names their fake addresses and takes them back when they have
// long been unused. All its methods may be called concurrently.
//
// Its two locks are there so that a known name is never kept waiting by the
// journal's file system: names are added by one goroutine at a time, which
// holds adding, and takes mu only for the moments in which tables change.
type Pool struct {
	ranges ranges
	log    *slog.Logger
	now    func() time.Time
	start  time.Time // seconds in the tables are counted from here, on the monotonic clock

	adding   sync.Mutex // held by whoever adds a name; guards the fields below
	journal  journal
	snapshot string

	mu         sync.RWMutex // guards the fields below; names are only changed with adding held as well
	names      names
	keep       uint32 // seconds
	hand       Slot   // where the search for a slot to reuse left off
	noneBefore uint32 // second before which no slot can become free
	exhausted  uint64
	reused     uint64
	dropped    uint64
}

// Open makes a Pool and restores the names of the journal. A journal that is
// damaged loses its damaged records; one of other ranges or another version is
// set aside as FILE.old; one that cannot be read or written leaves a pool that
// works from memory and tries again later. All of that is logged. The error
// is about ranges that have no address to give. Names that were restored are
// not fresh to Assign: the kernel is told of what Known gives before anybody asks.
func Open(cfg Config) (*Pool, error) {
	r, err := newRanges(cfg.Prefix4, cfg.Prefix6, cfg.MaxNames)
	if err != nil {
		return nil, fmt.Errorf("opening fake address pool: %w", err)
	}
	p := &Pool{ranges: r, log: cfg.Log, now: cfg.Now, snapshot: cfg.Snapshot, names: newNames()}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.start = p.now()
	p.SetKeep(cfg.Keep)
	p.journal = newJournal(cfg.Journal, r, p.now, p.log)
	p.restore()
	return p, nil
}

// SetKeep changes Config.Keep, for a reload that changes the TTL of answers.
// It is never lowered: answers with the longer TTL may still be out there.
func (p *Pool) SetKeep(keep time.Duration) {
	// Instants are kept as whole seconds, rounded down, so that two of them
	// can seem a second farther apart than they are.
	keep = min(max(keep, 0), maxKeep)
	seconds := uint32((keep+time.Second-1)/time.Second) + 1

	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = max(p.keep, seconds)
}

// Assign gives the name its slot, and marks it as answered now. The name is
// lower-case, without a trailing dot. With fresh, the kernel may not know the
// slot's addresses yet: the caller tells it, calls Told, and answers after
// that. It stays so for every caller until Told is called, so of two
// simultaneous questions neither is answered too early, and a failure to tell
// is repaired by the next question. A new name is not fresh if its slot was told
// ahead, with its block: see Reserve.
//
// Without ok there is no slot: every one is in use, or the name is empty or
// longer than 255 bytes. The caller answers with real addresses.
func (p *Pool) Assign(name string) (s Slot, fresh, ok bool) {
	if name == "" || len(name) > maxName {
		return 0, false, false
	}
	if s, fresh, ok = p.Answer(name); ok {
		return s, fresh, true
	}

	p.adding.Lock()
	defer p.adding.Unlock()
	if s, fresh, ok = p.Answer(name); ok { // added while we waited
		return s, fresh, true
	}
	if s, ok = p.take(); !ok {
		return 0, false, false
	}
	p.record(s, name) // before anyone can see, and answer with, the slot
	return s, p.add(s, name), true
}

// Answer is Assign for a name that has a slot; ok is false if it has none, and
// nothing changes.
func (p *Pool) Answer(name string) (s Slot, fresh, ok bool) {
	now := p.second()
	p.mu.RLock()
	defer p.mu.RUnlock()
	s = p.names.find(name)
	if s == 0 {
		return 0, false, false
	}
	e := p.names.entry(s)
	e.answer(now)
	return s, !e.told(), true
}

// Told notes that the kernel knows the addresses of the slot: Assign no longer
// calls it fresh, until the slot is given to another name.
func (p *Pool) Told(s Slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names.tell(s, s+1)
}

// NameOf finds the name that a fake address stands for. A flow that relies on
// the answer calls Hold first, so that the address keeps its meaning.
// The name shares memory with others: clone it to keep it for long.
func (p *Pool) NameOf(addr netip.Addr) (name string, ok bool) {
	s, ok := p.ranges.slot(addr)
	if !ok {
		return "", false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.names.has(s) {
		return "", false
	}
	return p.names.name(s), true
}

// Addrs gives the addresses of a slot. An address of a family without a range
// is the zero Addr.
func (p *Pool) Addrs(s Slot) (v4, v6 netip.Addr) { return p.ranges.addrs(s) }

// Contains says whether the address lies in one of the ranges, whether or not
// a name stands behind it.
func (p *Pool) Contains(addr netip.Addr) bool { return p.ranges.contains(addr) }

// Hold pins the slot of a fake address for a flow: it will not be given to
// another name until Release was called as often. It is false, and nothing is
// held, when no name stands behind the address.
func (p *Pool) Hold(addr netip.Addr) bool {
	s, ok := p.ranges.slot(addr)
	if !ok {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.names.has(s) {
		return false
	}
	p.names.entry(s).hold()
	return true
}

// Release gives back one Hold of the address. The slot then counts as answered
// now, because the client may well come back to the address it knows.
func (p *Pool) Release(addr netip.Addr) {
	s, ok := p.ranges.slot(addr)
	if !ok {
		return
	}
	now := p.second()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.names.has(s) || !p.names.entry(s).held() {
		return
	}
	p.names.entry(s).release(now)
	p.noneBefore = min(p.noneBefore, now+p.keep)
}

// All yields every slot in use and its name, in the order of slots. The pool
// may be used and changed meanwhile, even by the loop's body; names assigned
// after the loop began may be missing.
func (p *Pool) All() iter.Seq2[Slot, string] {
	return func(yield func(Slot, string) bool) {
		for s := Slot(1); ; s++ {
			name, more := p.at(s)
			if !more || name != "" && !yield(s, name) {
				return
			}
		}
	}
}

// Stats tells how the pool stands.
func (p *Pool) Stats() Stats {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return Stats{
		Names:     p.names.count,
		Slots:     int(p.ranges.last),
		Reserved:  int(p.names.next - p.names.spare),
		Exhausted: p.exhausted,
		Reused:    p.reused,
		Dropped:   p.dropped,
	}
}

// Close writes the snapshot, if there is to be one, and closes the journal.
// The pool must not be used after it.
func (p *Pool) Close() error {
	p.adding.Lock()
	defer p.adding.Unlock()
	if p.snapshot != "" {
		if err := p.journal.copyTo(p.snapshot, p.All()); err != nil {
			p.journal.close()
			return fmt.Errorf("saving fake address snapshot: %w", err)
		}
	}
	if err := p.journal.close(); err != nil {
		return fmt.Errorf("closing fake address journal: %w", err)
	}
	return nil
}

// take finds a slot for a new name: one never used, else one that has been out
// of use for long enough.
func (p *Pool) take() (Slot, bool) {
	now := p.second()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names.spare <= p.ranges.last {
		return p.names.spend(), true
	}
	s, ok := p.reclaim(now)
	if !ok {
		p.exhausted++
	}
	return s, ok
}

// reclaim moves the clock hand to the next slot that may be reused, and takes
// it from its name. Slots that were asked for since the hand came by last get
// a second chance, so the second turn finds something if there is anything to
// find. A search in vain is not repeated before its outcome can be another.
func (p *Pool) reclaim(now uint32) (Slot, bool) {
	if now < p.noneBefore {
		return 0, false
	}
	p.noneBefore = math.MaxUint32
	for range 2 * p.ranges.last {
		p.hand = p.hand%p.ranges.last + 1
		e := p.names.entry(p.hand)
		switch until := e.second() + p.keep; {
		case e.name == none:
			p.noneBefore = now
			return p.hand, true
		case e.held():
		case until > now:
			p.noneBefore = min(p.noneBefore, until)
		case e.asked():
			e.use &^= asked
		default:
			p.names.remove(p.hand)
			p.reused++
			p.noneBefore = now
			return p.hand, true
		}
	}
	return 0, false
}

// record writes to the journal what add is about to do.
func (p *Pool) record(s Slot, name string) {
	p.journal.append(s, name, p.names.count, p.names.bytes, p.All())
}

// add makes the name stand behind a slot that take gave, and says whether the
// kernel may not know the slot's addresses yet.
func (p *Pool) add(s Slot, name string) (fresh bool) {
	index := p.names.roomyIndex() // made before the lock: readers go on meanwhile
	now := p.second()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names.index = index
	p.names.put(s, name, now)
	return !p.names.entry(s).told()
}

// at reads one slot: its name, empty if it has none, and whether there are slots
// from it on.
func (p *Pool) at(s Slot) (name string, more bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if s >= p.names.next {
		return "", false
	}
	if !p.names.has(s) {
		return "", true
	}
	return p.names.name(s), true
}

// second is the time on the pool's clock, whose zero is when it was opened.
func (p *Pool) second() uint32 {
	return uint32(min(max(0, p.now().Sub(p.start)/time.Second), maxSecond))
}
