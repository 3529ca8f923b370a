package cache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"
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
