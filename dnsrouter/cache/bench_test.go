package cache

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

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
