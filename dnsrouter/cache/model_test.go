package cache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// modelAnswer is what the model of the cache, a map, knows of an answer.
type modelAnswer struct {
	msg          []byte
	ttls         []uint16
	fresh, stale time.Duration
	stored       time.Time
}

// want is what Get must give if the cache still has the answer.
func (m modelAnswer) want(now time.Time) ([]byte, State) {
	age := now.Sub(m.stored)
	if age >= m.fresh+m.stale {
		return nil, Miss
	}
	msg := bytes.Clone(m.msg)
	msg[0], msg[1] = 0, 0
	for _, at := range m.ttls {
		ttl := int(binary.BigEndian.Uint32(msg[at:]))
		ttl = max(1, ttl-int(age/time.Second))
		if age >= m.fresh {
			ttl = 30
		}
		binary.BigEndian.PutUint32(msg[at:], uint32(ttl))
	}
	if age < m.fresh {
		return msg, Fresh
	}
	return msg, Stale
}

func TestRandomOperationsAgreeWithAMap(t *testing.T) {
	tests := []struct {
		what    string
		bytes   int
		evicts  bool
		maxSize int
	}{
		{"in a cache that holds everything", 1 << 20, false, 300},
		{"in a cache that is too small", 40 << 10, true, 300},
		{"in a cache that is too small for some answers", 10 << 10, true, 3000},
		{"in a cache of tiny answers", 8 << 10, true, 20},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			c, model := New(tt.bytes), map[string]modelAnswer{}
			now := c.start
			hits := 0
			for range 20000 {
				now = now.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
				k := Key{View: uint16(r.IntN(2)), Flags: uint8(r.IntN(2)), Type: 1, Class: 1, Name: fmt.Append(nil, r.IntN(100))}
				id := fmt.Sprint(k)
				switch n := r.IntN(1000); {
				case n < 400:
					msg, at := response(12+r.IntN(tt.maxSize), make([]uint32, r.IntN(4))...)
					for _, at := range at {
						binary.BigEndian.PutUint32(msg[at:], r.Uint32N(600))
					}
					m := modelAnswer{msg, at, time.Duration(1+r.IntN(300)) * time.Second, time.Duration(r.IntN(300)) * time.Second, now}
					c.Put(k, m.msg, m.ttls, m.fresh, m.stale, now)
					model[id] = m
				default:
					got, state := c.Get(k, nil, now)
					if state == Ending {
						state = Fresh
					}
					want, wantState := model[id].want(now)
					if state == Miss && tt.evicts {
						continue
					}
					if state != wantState || !bytes.Equal(got, want) {
						t.Fatalf("Get(%s) = %x, %d; want %x, %d", id, got, state, want, wantState)
					}
					hits++
				}
			}
			if hits < 50 {
				t.Errorf("only %d Gets found something: the test tests nothing", hits)
			}
			checkShards(t, c)
		})
	}
}

// used is how many bytes of the ring hold entries, replaced ones included.
func (s *shard) used() int {
	if s.wrapped {
		return s.end - s.tail + s.head
	}
	return s.head - s.tail
}

// checkShards walks every ring and compares it with the index.
func checkShards(t *testing.T, c *Cache) {
	t.Helper()
	for i := range c.shards {
		s := &c.shards[i]
		linked, at := 0, s.tail
		for left := s.used(); left > 0; {
			e := s.entryAt(at)
			if _, found := s.placeOf(e.hash(), at); found {
				linked++
			}
			left -= len(e)
			if at += len(e); s.wrapped && at == s.end {
				at = 0
			}
		}
		if at != s.head {
			t.Errorf("shard %d: the walk from tail ends at %d, want head, %d", i, at, s.head)
		}
		if linked != s.count {
			t.Errorf("shard %d: %d entries are found by the index, which counts %d", i, linked, s.count)
		}
	}
}

func TestManyGoroutinesGetOnlyWhatWasPutForTheirKey(t *testing.T) {
	now := time.Now()
	c := New(1 << 17)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 10000 {
				n := r.IntN(2000)
				k := key(fmt.Sprint(n))
				if r.IntN(2) == 0 {
					msg, at := response(50+n%100, uint32(n))
					c.Put(k, msg, at, time.Hour, 0, now)
				} else if got, state := c.Get(k, nil, now); state != Miss && (len(got) != 50+n%100 || ttlsOf(got, 1)[0] != uint32(max(1, n))) {
					t.Errorf("Get(%d) = %x", n, got)
					return
				}
			}
		})
	}
	wg.Wait()
	checkShards(t, c)
}
