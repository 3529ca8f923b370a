package fakeip

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

func BenchmarkAssignKnown(b *testing.B) {
	p := full(b)
	known := fill(b, p, 65536)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			p.Assign(known[i*7919%len(known)])
		}
	})
}

func BenchmarkNameOf(b *testing.B) {
	p := full(b)
	n := len(fill(b, p, 65536))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v4, _ := p.Addrs(Slot(1 + i*7919%n))
		p.NameOf(v4)
	}
}

func BenchmarkAssignNew(b *testing.B) {
	for _, journal := range []string{"", filepath.Join(b.TempDir(), "journal")} {
		b.Run(fmt.Sprintf("journal=%t", journal != ""), func(b *testing.B) {
			p, err := Open(Config{Prefix4: netip.MustParsePrefix("198.18.0.0/15"), Journal: journal, Now: hurried()})
			if err != nil {
				b.Fatal(err)
			}
			fill(b, p, 1<<17-2)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Assign(fmt.Sprintf("new%d.example.com", i))
			}
		})
	}
}

// BenchmarkAssignExhausted is a flood of new names when nothing is free.
func BenchmarkAssignExhausted(b *testing.B) {
	p, err := Open(Config{Prefix4: netip.MustParsePrefix("198.18.0.0/15"), Keep: 24 * time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, p, 1<<17-2)
	b.ReportAllocs()
	for b.Loop() {
		p.Assign("one.more.example.com")
	}
}

func fill(b *testing.B, p *Pool, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("host%d.example.com", i)
		if _, _, ok := p.Assign(names[i]); !ok {
			b.Fatalf("no slot for name %d", i)
		}
	}
	return names
}

// BenchmarkOpen restores as many names as one device is given.
func BenchmarkOpen(b *testing.B) {
	cfg := Config{Prefix4: netip.MustParsePrefix("198.18.0.0/15"), Journal: filepath.Join(b.TempDir(), "journal")}
	p, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	const names = 110_000
	fill(b, p, names)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		if got := p.Stats().Names; got != names {
			b.Fatalf("%d names were restored, want %d", got, names)
		}
		p.journal.close()
	}
}
