package cache

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

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
	}
}

func TestTenThousandTypicalAnswersFitTwoMegabytes(t *testing.T) {
	now := time.Now()
	var c *Cache
	grown := smallest(5, func() int {
		c = nil
		before := heap()
		c = New(2 << 20)
		for i := range 10000 {
			msg, at := response(120+i%31, 300, 300)
			c.Put(key(fmt.Sprintf("www.example%07d.com", i)), msg, at, time.Hour, 0, now)
		}
		return heap() - before
	})
	if grown > 2<<20+4096 {
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

// smallest is the least of what measure says, because the runtime allocates on
// the same heap whenever it likes: a thread that it starts takes some kilobytes.
func smallest(times int, measure func() int) int {
	least := measure()
	for range times - 1 {
		least = min(least, measure())
	}
	return least
}

// heap is what lives, in bytes.
func heap() int {
	runtime.GC()
	runtime.GC() // what the first one only finds, the second gives back
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
