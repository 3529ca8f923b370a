package fakeip

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// model is the pool as plainly as can be told.
type model struct {
	slots int
	slot  map[string]Slot
	last  map[string]time.Time // of an answer or the end of a flow
	flows map[string]int
}

// busy and free say of a name with a slot that it needs it for sure, and that
// it does not; there is a second or two between them.
func (m *model) busy(name string, now time.Time) bool {
	return m.flows[name] > 0 || now.Sub(m.last[name]) < 5*time.Second
}

func (m *model) free(name string, now time.Time) bool {
	return m.flows[name] == 0 && now.Sub(m.last[name]) >= 7*time.Second
}

// assigned checks what the pool did with a name and follows it.
func (m *model) assigned(t *testing.T, name string, s Slot, ok bool, now time.Time) {
	t.Helper()
	before, known := m.slot[name]
	switch {
	case known && (!ok || s != before):
		t.Fatalf("Assign(%q) = %d, %t; it had slot %d", name, s, ok, before)
	case !ok:
		if len(m.slot) < m.slots {
			t.Fatalf("Assign(%q): no slot, and only %d of %d are taken", name, len(m.slot), m.slots)
		}
		for other := range m.slot {
			if m.free(other, now) {
				t.Fatalf("Assign(%q): no slot, and %q does not need its own", name, other)
			}
		}
		return
	case !known:
		for other, its := range m.slot {
			if its != s {
				continue
			}
			if m.busy(other, now) {
				t.Fatalf("Assign(%q) took slot %d from %q, which still needs it", name, s, other)
			}
			delete(m.slot, other)
		}
	}
	m.slot[name], m.last[name] = s, now
}

func TestRandomOperationsAgreeWithTheModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c := newClock()
	cfg := config(filepath.Join(t.TempDir(), "journal"))
	cfg.Now = c.Now
	p := mustOpen(t, cfg)
	m := model{14, map[string]Slot{}, map[string]time.Time{}, map[string]int{}}
	exhausted := uint64(0)

	for range 100_000 {
		name := fmt.Sprintf("n%d", r.IntN(40))
		s, known := m.slot[name]
		v4, v6 := p.Addrs(s)
		switch n := r.IntN(1000); {
		case n < 300:
			got, _, ok := p.Assign(name)
			m.assigned(t, name, got, ok, c.Now())
		case n < 500:
			if got, ok := p.slotOf(name); ok != known || got != s {
				t.Fatalf("slotOf(%q) = %d, %t; want %d, %t", name, got, ok, s, known)
			}
		case n < 700:
			if got, ok := p.NameOf(v6); known && got != name || ok != known {
				t.Fatalf("NameOf(%s) = %q, %t; want %q, %t", v6, got, ok, name, known)
			}
		case n < 800:
			if got := p.Hold(v4); got != known {
				t.Fatalf("Hold(%s) = %t, want %t", v4, got, known)
			}
			if known {
				m.flows[name]++
			}
		case n < 910:
			p.Release(v4)
			if known && m.flows[name] > 0 {
				m.flows[name]--
				m.last[name] = c.Now()
			}
		case n < 998:
			c.advance(time.Duration(r.IntN(1500)) * time.Millisecond)
		default:
			exhausted += p.Stats().Exhausted
			crash(p)
			p = mustOpen(t, cfg)
			clear(m.flows)
			for name := range m.slot {
				m.last[name] = c.Now()
			}
			if got := maps.Collect(p.All()); len(got) != len(m.slot) {
				t.Fatalf("after a crash there are %d names, want %d", len(got), len(m.slot))
			}
		}
	}
	checkBijection(t, p)
	if exhausted == 0 {
		t.Error("the pool was never exhausted: the test tests little")
	}
}
