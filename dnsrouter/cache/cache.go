// Package cache keeps DNS answers in wire form within a fixed number of bytes.
//
// # Layout
//
// The cache is divided into shards by the hash of the key. A shard has one
// byte slice, the ring, and one slice of uint32, the index; neither holds a
// pointer, so the garbage collector looks at a few dozen objects however many
// answers there are, and both are as large as they will ever be from the start.
//
//	index   open addressing: offset in the ring + 1 of the entry whose hash
//	        leads there; 0: free
//	ring    entries end to end: header, key, offsets of TTL fields, message.
//	        New ones are written at head; the oldest, at tail, make room.
//
// An entry at the tail that was asked for since it was written is written anew
// at the head, once for each time around (first in, first out, with a second
// chance). An entry that was replaced stays in the ring, without a place in
// the index, until the tail reaches it.
package cache

import (
	"encoding/binary"
	"hash/maphash"
	"time"
)

// Key tells answers apart that must not be given for one another.
type Key struct {
	View        uint16 // of the policy: clients of different views never share an answer
	Flags       uint8  // the caller's: DO, CD
	Type, Class uint16
	Name        []byte // lower-case; at most 255 bytes
}

// State says what Get found.
type State uint8

// The states of an answer.
const (
	Miss   State = iota // there is none, or only one too old for any use
	Fresh               // may be given
	Ending              // may be given, but is asked for often and ends soon: it should be renewed
	Stale               // may be given if a new one is not to be had (RFC 8767)
)

const (
	// hot is how often an answer was found before, for it to be Ending when the
	// last tenth of its life begins. It is found so many times again before it
	// is Ending once more, in case that nobody could renew it.
	hot = 3
	// shortLife is a life of milliseconds that is not worth renewing early.
	shortLife = 10_000
)

// staleTTL is the TTL of every record of a stale answer, in seconds, as
// RFC 8767 section 4 recommends.
const staleTTL = 30

// maxAge bounds fresh and stale each, so that their sum is less than 2^32
// milliseconds.
const maxAge = 24 * 24 * time.Hour

// Cache holds answers. Its methods may be called concurrently.
type Cache struct {
	shards []shard // a power of two; none: nothing is kept
	seed   maphash.Seed
	start  time.Time // milliseconds in entries are counted from here
}

const (
	// maxShards is enough for the cores of a router. More would each be
	// smaller, and filled less evenly.
	maxShards = 4
	// minShard is the least that a shard gets, before there is a second one:
	// an answer can take a quarter of its shard, and small shards would be filled
	// so unevenly that one drops answers while others have room.
	minShard = 1 << 20
	maxShard = 128 << 20 // offsets fit 32 bits, and all shards together an int
)

// New makes a cache that takes at most so many bytes, with everything. With
// too few for a single answer, every Get is a Miss.
func New(bytes int) *Cache {
	c := &Cache{seed: maphash.MakeSeed(), start: time.Now()}
	if bytes < 4096 {
		return c
	}
	bytes = min(bytes, maxShards*maxShard)
	n := 1
	for n < maxShards && bytes/(2*n) >= minShard {
		n *= 2
	}
	c.shards = make([]shard, n)
	for i := range c.shards {
		c.shards[i].init((bytes - overhead) / n)
	}
	return c
}

// Put keeps a copy of msg, a DNS response in wire form without its OPT record.
// ttls are the offsets in msg of its TTL fields. The answer may be given for
// the duration fresh, and as a stale one for the duration stale after that;
// neither counts beyond 24 days. An answer larger than a quarter of a shard, one
// with a TTL field outside of it, and one that could never be given are not
// kept; the older answer that they replace is gone all the same.
//
// now is from time.Now: it must carry a monotonic reading, or a change of the
// clock makes answers younger or older.
func (c *Cache) Put(k Key, msg []byte, ttls []uint16, fresh, stale time.Duration, now time.Time) {
	a := answer{
		msg:    msg,
		ttls:   ttls,
		stored: c.millisecond(now),
		fresh:  milliseconds(fresh),
		stale:  milliseconds(stale),
	}
	if len(c.shards) == 0 || len(k.Name) > maxName {
		return
	}
	var buf [maxKey]byte
	var s *shard
	a.key = k.append(buf[:0])
	s, a.hash = c.find(a.key)
	s.put(a)
}

// Get appends the answer to dst, with the ID 0 and with TTLs reduced by its
// age: by whole seconds and not below 1 while it is fresh; 30 each when it is
// stale. On a Miss dst is returned as it was.
func (c *Cache) Get(k Key, dst []byte, now time.Time) ([]byte, State) {
	if len(c.shards) == 0 || len(k.Name) > maxName {
		return dst, Miss
	}
	var buf [maxKey]byte
	key := k.append(buf[:0])
	s, hash := c.find(key)
	return s.get(hash, key, dst, c.millisecond(now))
}

// Peek tells what Get would find, without counting as asking for it: Fresh,
// Stale or Miss.
func (c *Cache) Peek(k Key, now time.Time) State {
	if len(c.shards) == 0 || len(k.Name) > maxName {
		return Miss
	}
	var buf [maxKey]byte
	key := k.append(buf[:0])
	s, hash := c.find(key)
	return s.peek(hash, key, c.millisecond(now))
}

// find gives the shard of a key, and its hash there.
func (c *Cache) find(key []byte) (*shard, uint32) {
	h := maphash.Bytes(c.seed, key)
	return &c.shards[int(h>>32)&(len(c.shards)-1)], uint32(h)
}

func (c *Cache) millisecond(now time.Time) int64 { return now.Sub(c.start).Milliseconds() }

func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d, 0), maxAge).Milliseconds())
}

const (
	maxName = 255
	maxKey  = 7 + maxName
)

// append writes the key in the form in which entries hold and compare it.
func (k Key) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, k.View)
	b = append(b, k.Flags)
	b = binary.BigEndian.AppendUint16(b, k.Type)
	b = binary.BigEndian.AppendUint16(b, k.Class)
	return append(b, k.Name...)
}
