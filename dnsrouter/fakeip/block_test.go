package fakeip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestNamesThatGetReservedSlotsAreNotFresh(t *testing.T) {
	p := small(t, 0, newClock())
	mustAssign(t, p, "before") // slot 1
	first, ok := p.Reserve()
	if first != 0 || !ok {
		t.Fatalf("Reserve = %d, %t; want the block of the next slot, 0, true", first, ok)
	}
	if _, fresh, _ := p.Assign("too early"); !fresh {
		t.Error("a name that got a reserved slot before ToldBlock is not fresh")
	}
	p.ToldBlock(first)
	for i := 3; i < BlockSlots; i++ {
		if s, fresh, _ := p.Assign(fmt.Sprint("n", i)); s != Slot(i) || fresh {
			t.Fatalf("Assign = %d, fresh %t; want %d, false", s, fresh, i)
		}
	}
	if _, fresh, _ := p.Assign("in the next block"); !fresh {
		t.Error("a name behind the block is not fresh")
	}
	if got := p.Stats().Reserved; got != 0 {
		t.Errorf("%d slots are reserved, want none", got)
	}
}

func TestWhatIsTakenBackIsFreshAgain(t *testing.T) {
	p := small(t, 0, newClock())
	for range 2 {
		first, _ := p.Reserve()
		p.ToldBlock(first)
	}
	mustAssign(t, p, "a")
	mustAssign(t, p, "b")
	blocks, used := p.Unreserve()
	if !slices.Equal(blocks, []Slot{0, BlockSlots}) || !slices.Equal(used, []Slot{1, 2}) {
		t.Errorf("Unreserve = %v, %v; want two blocks and the slots 1 and 2", blocks, used)
	}
	if _, fresh, _ := p.Assign("b"); fresh {
		t.Error("a name that was told with its block is fresh")
	}
	if s, fresh, _ := p.Assign("c"); s != 3 || !fresh {
		t.Errorf("Assign = %d, fresh %t; want 3, true", s, fresh)
	}
	if blocks, used := p.Unreserve(); len(blocks)+len(used) != 0 {
		t.Errorf("Unreserve of nothing = %v, %v", blocks, used)
	}
}

func TestABlockThatTheRangesDoNotHoldIsNotReserved(t *testing.T) {
	for _, tt := range []struct {
		prefix string
		names  int
		want   int // blocks
	}{
		{"198.18.0.0/28", 0, 0}, {"198.18.0.0/25", 0, 0}, {"198.18.0.0/24", 0, 1}, {"198.18.0.0/23", 0, 2},
		{"198.18.0.0/15", 300, 1}, {"198.18.0.0/15", 0, 512},
	} {
		p, err := Open(Config{Prefix4: netip.MustParsePrefix(tt.prefix), MaxNames: tt.names})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for first, ok := p.Reserve(); ok; first, ok = p.Reserve() {
			if v4, v6 := p.Block(first); v4.Masked() != v4 || v4.Bits() != 24 || v6.IsValid() {
				t.Fatalf("%s: Block(%d) = %s, %s; want a /24 and none", tt.prefix, first, v4, v6)
			}
			got++
		}
		if got != tt.want {
			t.Errorf("%s with %d names has %d blocks, want %d", tt.prefix, tt.names, got, tt.want)
		}
	}
}

func TestBlocksWithANameForEachSlotAreKnownAsBlocks(t *testing.T) {
	cfg := Config{Prefix4: netip.MustParsePrefix("198.18.0.0/23"), Journal: filepath.Join(t.TempDir(), "journal")}
	p := mustOpen(t, cfg)
	for i := range 300 {
		mustAssign(t, p, fmt.Sprint("n", i))
	}
	for _, when := range []string{"at once", "after a restart"} {
		blocks, single := p.Known()
		if !slices.Equal(blocks, []Slot{0}) || len(single) != 45 || single[0] != BlockSlots {
			t.Errorf("%s Known = %v and %d slots from %v on; want block 0, and 45 from 256 on", when, blocks, len(single), single[:1])
		}
		mustClose(t, p)
		p = mustOpen(t, cfg)
	}
	if _, fresh, _ := p.Assign("n7"); fresh {
		t.Error("a name that was restored is fresh")
	}
	mustClose(t, p)
}

// kernel is what a kernel was told.
type kernel struct {
	blocks, single map[Slot]bool
}

func (k *kernel) install(p *Pool) {
	k.blocks, k.single = map[Slot]bool{}, map[Slot]bool{}
	blocks, single := p.Known()
	for _, s := range blocks {
		k.blocks[s] = true
	}
	for _, s := range single {
		k.single[s] = true
	}
}

func (k *kernel) knows(s Slot) bool { return k.single[s] || k.blocks[blockOf(s)] }

// TestNoNameIsAnsweredThatTheKernelDoesNotKnow has names come and go, blocks told
// ahead and taken back, each in its steps with all else in between, some of them
// in vain, and the table made anew.
func TestNoNameIsAnsweredThatTheKernelDoesNotKnow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c := newClock()
	cfg := config(filepath.Join(t.TempDir(), "journal"))
	cfg.Prefix4, cfg.Now = netip.MustParsePrefix("198.18.0.0/21"), c.Now // eight blocks
	p := mustOpen(t, cfg)
	var k kernel
	k.install(p)
	reserved, unreserved, reused := 0, 0, uint64(0)

	var telling []Slot // a block, which may get known to the kernel without that being noted
	for i := range 60_000 {
		switch n := r.IntN(1000); {
		case n < 700:
			s, fresh, ok := p.Assign(fmt.Sprint("n", r.IntN(4000)))
			if ok && !fresh && !k.knows(s) {
				t.Fatalf("step %d: slot %d is answered, which the kernel does not know", i, s)
			}
			if ok && fresh && r.IntN(4) > 0 {
				k.single[s] = true
				p.Told(s)
			}
		case n < 800 && telling == nil:
			if first, ok := p.Reserve(); ok && r.IntN(4) > 0 {
				telling = []Slot{first}
			}
		case n < 900 && telling != nil:
			k.blocks[telling[0]] = true
			if r.IntN(2) == 0 {
				p.ToldBlock(telling[0])
				telling = nil
				reserved++
			}
		case n < 920 && telling == nil:
			blocks, used := p.Unreserve()
			for _, s := range used {
				k.single[s] = true
			}
			for _, s := range blocks {
				delete(k.blocks, s)
				unreserved++
			}
		case n < 990:
			c.advance(time.Duration(r.IntN(1500)) * time.Millisecond)
		case n < 998:
			k.install(p)
		case n < 999:
			reused += p.Stats().Reused
			crash(p)
			p = mustOpen(t, cfg)
			k.install(p)
			telling = nil
		}
	}
	reused += p.Stats().Reused
	if reserved < 10 || unreserved < 10 || reused < 10 {
		t.Errorf("%d blocks were told, %d taken back, %d slots reused: the test tests little", reserved, unreserved, reused)
	}
}
