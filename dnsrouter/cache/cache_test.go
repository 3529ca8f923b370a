package cache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// response is a stand-in for a DNS response: what the cache looks at are its
// length and the TTL fields, which lie one behind the other from byte 12 on.
func response(length int, ttls ...uint32) (msg []byte, at []uint16) {
	msg = make([]byte, max(length, 12+4*len(ttls)))
	for i := range msg {
		msg[i] = byte(i)
	}
	for i, ttl := range ttls {
		at = append(at, uint16(12+4*i))
		binary.BigEndian.PutUint32(msg[12+4*i:], ttl)
	}
	return msg, at
}

func key(name string) Key { return Key{Type: 1, Class: 1, Name: []byte(name)} }

func ttlsOf(msg []byte, n int) []uint32 {
	var ttls []uint32
	for i := range n {
		ttls = append(ttls, binary.BigEndian.Uint32(msg[12+4*i:]))
	}
	return ttls
}

func TestTTLsCountDownWhileFreshAndAreThirtyWhenStale(t *testing.T) {
	tests := []struct {
		what  string
		age   time.Duration
		state State
		ttls  []uint32
	}{
		{"at once", 0, Fresh, []uint32{300, 60, 1}},
		{"just under a second later", 999 * time.Millisecond, Fresh, []uint32{300, 60, 1}},
		{"a second later", time.Second, Fresh, []uint32{299, 59, 1}},
		{"when one TTL has run out and the answer is still fresh", 61 * time.Second, Fresh, []uint32{239, 1, 1}},
		{"at the last fresh instant", 100*time.Second - time.Millisecond, Fresh, []uint32{201, 1, 1}},
		{"at the first stale instant", 100 * time.Second, Stale, []uint32{30, 30, 30}},
		{"at the last stale instant", 300*time.Second - time.Millisecond, Stale, []uint32{30, 30, 30}},
		{"after that", 300 * time.Second, Miss, nil},
		{"asked with an older clock reading than it was stored with", -time.Second, Fresh, []uint32{300, 60, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			c := New(1 << 16)
			start := c.start.Add(time.Hour)
			msg, at := response(100, 300, 60, 0)
			c.Put(key("name"), msg, at, 100*time.Second, 200*time.Second, start)
			got, state := c.Get(key("name"), []byte("before"), start.Add(tt.age))
			if state != tt.state {
				t.Fatalf("state = %d, want %d", state, tt.state)
			}
			if !bytes.HasPrefix(got, []byte("before")) {
				t.Fatalf("Get lost what dst held: %q", got[:6])
			}
			if got = got[6:]; tt.ttls == nil {
				if len(got) != 0 {
					t.Errorf("a miss appended %d bytes", len(got))
				}
				return
			}
			if fmt.Sprint(ttlsOf(got, 3)) != fmt.Sprint(tt.ttls) {
				t.Errorf("TTLs = %v, want %v", ttlsOf(got, 3), tt.ttls)
			}
			if got[0] != 0 || got[1] != 0 {
				t.Errorf("ID = %x, want 0", got[:2])
			}
			if !bytes.Equal(got[2:12], msg[2:12]) || !bytes.Equal(got[24:], msg[24:]) {
				t.Errorf("message = %x, want %x but for ID and TTLs", got, msg)
			}
		})
	}
}

func TestKeysThatDifferInOneFieldDoNotShareAnAnswer(t *testing.T) {
	now := time.Now()
	c := New(1 << 16)
	base := Key{View: 1, Flags: 1, Type: 1, Class: 1, Name: []byte("name")}
	msg, at := response(60, 10)
	c.Put(base, msg, at, time.Minute, 0, now)
	for field, k := range map[string]Key{
		"view":  {View: 2, Flags: 1, Type: 1, Class: 1, Name: []byte("name")},
		"flags": {View: 1, Flags: 0, Type: 1, Class: 1, Name: []byte("name")},
		"type":  {View: 1, Flags: 1, Type: 28, Class: 1, Name: []byte("name")},
		"class": {View: 1, Flags: 1, Type: 1, Class: 3, Name: []byte("name")},
		"name":  {View: 1, Flags: 1, Type: 1, Class: 1, Name: []byte("names")},
	} {
		if _, state := c.Get(k, nil, now); state != Miss {
			t.Errorf("with another %s: state = %d, want Miss", field, state)
		}
	}
	if _, state := c.Get(base, nil, now); state != Fresh {
		t.Errorf("with the same key: state = %d, want Fresh", state)
	}
}

func TestKeysOfOneHashDoNotShareAnAnswer(t *testing.T) {
	var s shard
	s.init(1 << 16)
	for name := range byte(100) {
		s.put(answer{hash: 7, key: []byte{name}, msg: bytes.Repeat([]byte{name}, 20), fresh: 1000})
	}
	for name := range byte(100) {
		got, state := s.get(7, []byte{name}, nil, 0)
		if state != Fresh || got[12] != name {
			t.Fatalf("get of key %d = %v, state %d", name, got, state)
		}
	}
}

func TestWhatCannotBeKeptIsNotAndNeitherIsWhatItReplaces(t *testing.T) {
	now := time.Now()
	small, smallTTLs := response(60, 10)
	big, bigTTLs := response(40000, 10)
	tests := []struct {
		what         string
		key          Key
		msg          []byte
		ttls         []uint16
		fresh, stale time.Duration
	}{
		{"an answer that may never be given", key("n"), small, smallTTLs, 0, 0},
		{"an answer larger than a quarter of its shard", key("n"), big, bigTTLs, time.Minute, 0},
		{"a TTL field that ends behind the message", key("n"), small, []uint16{57}, time.Minute, 0},
		{"a message shorter than a header", key("n"), small[:11], nil, time.Minute, 0},
		{"a name longer than a name can be", key(string(make([]byte, 256))), small, smallTTLs, time.Minute, 0},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			c := New(1 << 17)
			c.Put(tt.key, small, smallTTLs, time.Minute, 0, now)
			c.Put(tt.key, tt.msg, tt.ttls, tt.fresh, tt.stale, now)
			if _, state := c.Get(tt.key, nil, now); state != Miss {
				t.Errorf("state = %d, want Miss", state)
			}
		})
	}
	t.Run("anything, in a cache of no bytes", func(t *testing.T) {
		c := New(0)
		c.Put(key("n"), small, smallTTLs, time.Minute, 0, now)
		if _, state := c.Get(key("n"), nil, now); state != Miss {
			t.Errorf("state = %d, want Miss", state)
		}
	})
}

func TestAnAnswerThatIsAskedForOutlivesOthers(t *testing.T) {
	now := time.Now()
	c := New(1 << 16)
	msg, at := response(120, 10)
	c.Put(key("hot"), msg, at, time.Hour, 0, now)
	for i := range 10000 {
		c.Put(key(fmt.Sprint("cold", i)), msg, at, time.Hour, 0, now)
		if i%100 != 0 {
			continue
		}
		if _, state := c.Get(key("hot"), nil, now); state != Fresh {
			t.Fatalf("after %d others: state = %d, want Fresh", i, state)
		}
	}
	if _, state := c.Get(key("cold0"), nil, now); state != Miss {
		t.Errorf("what nobody asked for: state = %d, want Miss", state)
	}
}

func TestAnAnswerThatIsAskedForOftenIsRenewedBeforeItEnds(t *testing.T) {
	for _, tt := range []struct {
		what  string
		life  time.Duration
		times int // it was asked for before
		after time.Duration
		want  State
	}{
		{"in its last tenth", 100 * time.Second, 3, 90 * time.Second, Ending},
		{"before that", 100 * time.Second, 3, 89 * time.Second, Fresh},
		{"asked for seldom", 100 * time.Second, 2, 90 * time.Second, Fresh},
		{"too old already", 100 * time.Second, 3, 100 * time.Second, Stale},
		{"of a short life", 9 * time.Second, 3, 8900 * time.Millisecond, Fresh},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c := New(1 << 16)
			now := c.start
			msg, at := response(120, 100)
			c.Put(key("n"), msg, at, tt.life, time.Hour, now)
			for range tt.times {
				c.Get(key("n"), nil, now)
			}
			if got := c.Peek(key("n"), now.Add(tt.after)); got != tt.want && tt.want != Ending {
				t.Errorf("Peek: state = %d, want %d", got, tt.want)
			}
			if _, got := c.Get(key("n"), nil, now.Add(tt.after)); got != tt.want {
				t.Errorf("state = %d, want %d", got, tt.want)
			}
			if _, got := c.Get(key("n"), nil, now.Add(tt.after)); got == Ending && tt.want == Ending {
				t.Error("it is ending twice in a row, so two would renew it")
			}
		})
	}
}

func TestFlushForgetsEverything(t *testing.T) {
	now := time.Now()
	c := New(1 << 20)
	msg, at := response(120, 10)
	for i := range 1000 {
		c.Put(key(fmt.Sprint(i)), msg, at, time.Hour, 0, now)
	}
	c.Flush()
	for i := range 1000 {
		if _, state := c.Get(key(fmt.Sprint(i)), nil, now); state != Miss {
			t.Fatalf("answer %d is still there", i)
		}
	}
	if s := c.Stats(); s.Entries != 0 || s.Bytes != 0 {
		t.Errorf("Stats = %+v, want no entries and no bytes", s)
	}
}

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
				case n == 0:
					c.Flush()
					clear(model)
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

func TestTheCacheKeepsToItsBytes(t *testing.T) {
	now := time.Now()
	for _, limit := range []int{4096, 10000, 1 << 16, 1<<17 + 1, 1 << 20, 2 << 20, 5_000_000} {
		c := New(limit)
		msg, at := response(120, 10)
		for i := range limit / 50 {
			c.Put(key(fmt.Sprint(i)), msg, at, time.Hour, 0, now)
		}
		got := int(unsafe.Sizeof(*c)) + cap(c.shards)*int(unsafe.Sizeof(shard{}))
		for i := range c.shards {
			got += cap(c.shards[i].ring) + 4*cap(c.shards[i].index)
		}
		if got > limit {
			t.Errorf("New(%d) takes %d bytes", limit, got)
		}
		if got < limit*9/10-2048 {
			t.Errorf("New(%d) uses only %d bytes", limit, got)
		}
		if s := c.Stats(); s.Bytes > s.Limit || s.Limit > limit {
			t.Errorf("New(%d).Stats() = %+v", limit, s)
		}
	}
}

func TestTenThousandTypicalAnswersFitTwoMegabytes(t *testing.T) {
	before := heap()
	now := time.Now()
	c := New(2 << 20)
	for i := range 10000 {
		msg, at := response(120+i%31, 300, 300)
		c.Put(key(fmt.Sprintf("www.example%07d.com", i)), msg, at, time.Hour, 0, now)
	}
	if grown := heap() - before; grown > 2<<20+4096 {
		t.Errorf("the heap grew by %d bytes, want 2 MB at most", grown)
	}
	lost := 0
	for i := range 10000 {
		if _, state := c.Get(key(fmt.Sprintf("www.example%07d.com", i)), nil, now); state != Fresh {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of 10000 answers are lost", lost)
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestAHitAndARenewalAllocateNothing(t *testing.T) {
	now := time.Now()
	c := New(1 << 20)
	k := key("www.example.com")
	msg, at := response(120, 300, 300)
	dst := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(1000, func() { c.Put(k, msg, at, time.Hour, 0, now) }); n != 0 {
		t.Errorf("Put allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { dst, _ = c.Get(k, dst[:0], now) }); n != 0 {
		t.Errorf("Get allocates %v times", n)
	}
}

func TestManyGoroutinesGetOnlyWhatWasPutForTheirKey(t *testing.T) {
	now := time.Now()
	c := New(1 << 17)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 10000 {
				n := r.IntN(2000)
				k := key(fmt.Sprint(n))
				if r.IntN(2) == 0 {
					msg, at := response(50+n%100, uint32(n))
					c.Put(k, msg, at, time.Hour, 0, now)
				} else if got, state := c.Get(k, nil, now); state != Miss && (len(got) != 50+n%100 || ttlsOf(got, 1)[0] != uint32(max(1, n))) {
					t.Errorf("Get(%d) = %x", n, got)
					return
				}
				switch i % 5000 {
				case 0:
					c.Stats()
				case 4999:
					c.Flush()
				}
			}
		})
	}
	wg.Wait()
	checkShards(t, c)
}

func BenchmarkGetHit(b *testing.B) {
	now := time.Now()
	c := New(2 << 20)
	msg, at := response(120, 300, 300)
	keys := make([]Key, 2000)
	for i := range keys {
		keys[i] = key(fmt.Sprintf("www.example%04d.com", i))
		c.Put(keys[i], msg, at, time.Hour, 0, now)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		dst := make([]byte, 0, 512)
		for i := 0; pb.Next(); i++ {
			if _, state := c.Get(keys[i%len(keys)], dst, now); state != Fresh {
				b.Fatalf("state = %d", state)
			}
		}
	})
}

func BenchmarkGetMiss(b *testing.B) {
	now := time.Now()
	c := New(2 << 20)
	k := key("www.example.com")
	b.ReportAllocs()
	for b.Loop() {
		c.Get(k, nil, now)
	}
}

func BenchmarkPutOfNewNames(b *testing.B) {
	now := time.Now()
	c := New(2 << 20)
	msg, at := response(120, 300, 300)
	name := []byte("www.example00000000.com")
	k := Key{Type: 1, Class: 1, Name: name}
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		binary.BigEndian.PutUint32(name[11:], i)
		c.Put(k, msg, at, time.Hour, 0, now)
	}
}
