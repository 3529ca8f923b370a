package fakeip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that passes when the test says so.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// small is a pool of so many slots that keeps them for ten seconds.
func small(t *testing.T, slots int, c *clock) *Pool {
	t.Helper()
	p, err := Open(Config{
		Prefix4:  netip.MustParsePrefix("198.18.0.0/15"),
		Prefix6:  netip.MustParsePrefix("2001:2::/64"),
		MaxNames: slots,
		Keep:     10 * time.Second,
		Now:      c.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// full is a pool with the default ranges and no journal.
func full(tb testing.TB) *Pool {
	tb.Helper()
	p, err := Open(Config{
		Prefix4: netip.MustParsePrefix("198.18.0.0/15"),
		Prefix6: netip.MustParsePrefix("2001:2::/64"),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// mustAssign assigns a name that must get a slot, and gives its IPv4 address.
func mustAssign(t *testing.T, p *Pool, name string) netip.Addr {
	t.Helper()
	s, _, ok := p.Assign(name)
	if !ok {
		t.Fatalf("Assign(%q): no slot", name)
	}
	v4, _ := p.Addrs(s)
	return v4
}

func TestANameHasOneAddressOfEachFamily(t *testing.T) {
	p := small(t, 0, newClock())
	for i := range 1000 {
		name := fmt.Sprintf("host%d.example.com", i)
		s, fresh, ok := p.Assign(name)
		if !ok || !fresh {
			t.Fatalf("Assign(%q) = fresh %t, ok %t; want both", name, fresh, ok)
		}
		v4, v6 := p.Addrs(s)
		for _, addr := range []netip.Addr{v4, v6} {
			if got, ok := p.NameOf(addr); !ok || got != name {
				t.Fatalf("NameOf(%s) = %q, %t; want %q", addr, got, ok, name)
			}
			if !p.Contains(addr) {
				t.Fatalf("Contains(%s) = false", addr)
			}
		}
		if got, ok := p.slotOf(name); !ok || got != s {
			t.Fatalf("slotOf(%q) = %d, %t; want %d", name, got, ok, s)
		}
		if again, _, _ := p.Assign(name); again != s {
			t.Fatalf("Assign(%q) again = %d, want %d", name, again, s)
		}
	}
}

func TestNothingStandsBehindAnAddressNotAssigned(t *testing.T) {
	p := small(t, 0, newClock())
	mustAssign(t, p, "example.com") // 198.18.0.1 and 2001:2::1
	for _, addr := range []string{
		"198.18.0.0", "198.18.0.2", "198.19.255.255", "198.20.0.1", "192.0.2.1",
		"2001:2::", "2001:2::2", "2001:2::1:0:0:1", "2001:2:0:1::1", "::1", "::ffff:198.18.0.1",
	} {
		a := netip.MustParseAddr(addr)
		if name, ok := p.NameOf(a); ok {
			t.Errorf("NameOf(%s) = %q, want none", addr, name)
		}
		if p.Hold(a) {
			t.Errorf("Hold(%s) = true", addr)
		}
		p.Release(a)
	}
	if _, ok := p.NameOf(netip.Addr{}); ok {
		t.Error("NameOf of the zero Addr found a name")
	}
}

func TestFreshLastsUntilTheKernelWasTold(t *testing.T) {
	p := small(t, 0, newClock())
	for range 2 {
		if _, fresh, _ := p.Assign("example.com"); !fresh {
			t.Fatal("not fresh before Told")
		}
	}
	s, _ := p.slotOf("example.com")
	p.Told(s)
	if _, fresh, _ := p.Assign("example.com"); fresh {
		t.Error("fresh after Told")
	}
}

func TestAReusedSlotIsFreshAgain(t *testing.T) {
	c := newClock()
	p := small(t, 1, c)
	s, _, _ := p.Assign("first.example")
	p.Told(s)
	c.advance(time.Minute)
	s, _, _ = p.Assign("first.example")
	c.advance(time.Minute)
	if again, fresh, ok := p.Assign("second.example"); again != s || !fresh || !ok {
		t.Errorf("Assign = %d, fresh %t, ok %t; want %d, true, true", again, fresh, ok, s)
	}
}

func TestAnExhaustedPoolSaysSoAndRecovers(t *testing.T) {
	c := newClock()
	p := small(t, 8, c)
	for i := range 8 {
		mustAssign(t, p, fmt.Sprintf("n%d", i))
	}
	for i := 8; i < 20; i++ {
		if s, _, ok := p.Assign(fmt.Sprintf("n%d", i)); ok {
			t.Fatalf("name %d of a pool of 8 got slot %d", i, s)
		}
	}
	if got := p.Stats(); got != (Stats{Names: 8, Slots: 8, Exhausted: 12}) {
		t.Errorf("Stats = %+v", got)
	}
	c.advance(12 * time.Second)
	for i := 8; i < 16; i++ {
		mustAssign(t, p, fmt.Sprintf("n%d", i))
	}
	if got := p.Stats(); got != (Stats{Names: 8, Slots: 8, Exhausted: 12, Reused: 8}) {
		t.Errorf("Stats = %+v", got)
	}
}

func TestAHeldSlotIsNotReused(t *testing.T) {
	c := newClock()
	p := small(t, 1, c)
	addr := mustAssign(t, p, "live")
	p.Hold(addr)
	p.Hold(addr)
	for _, step := range []struct {
		what string
		do   func()
		ok   bool
	}{
		{"with two flows", func() { c.advance(time.Hour) }, false},
		{"with one flow", func() { p.Release(addr); c.advance(time.Hour) }, false},
		{"at once after the last flow", func() { p.Release(addr) }, false},
		{"a second before Keep is over", func() { c.advance(9 * time.Second) }, false},
		{"when Keep is over", func() { c.advance(3 * time.Second) }, true},
	} {
		step.do()
		if _, _, ok := p.Assign("other"); ok != step.ok {
			t.Fatalf("Assign %s: ok = %t, want %t", step.what, ok, step.ok)
		}
	}
}

func TestANameAskedForAgainOutlivesOthers(t *testing.T) {
	c := newClock()
	p := small(t, 100, c)
	hot := mustAssign(t, p, "hot")
	for i := range 1000 {
		mustAssign(t, p, fmt.Sprintf("cold%d", i))
		c.advance(time.Second)
		if i%50 == 0 {
			mustAssign(t, p, "hot")
		}
	}
	if got := mustAssign(t, p, "hot"); got != hot {
		t.Errorf("the name asked for every 50 s moved from %s to %s", hot, got)
	}
}

func TestKeepIsNeverLowered(t *testing.T) {
	c := newClock()
	p := small(t, 1, c)
	mustAssign(t, p, "answered with the long TTL")
	p.SetKeep(time.Second)
	c.advance(9 * time.Second)
	if _, _, ok := p.Assign("other"); ok {
		t.Error("the slot was reused before its first Keep was over")
	}
}

func TestNamesThatCannotBeKeptGetNoSlot(t *testing.T) {
	p := small(t, 0, newClock())
	for _, name := range []string{"", strings.Repeat("x", 256)} {
		if _, _, ok := p.Assign(name); ok {
			t.Errorf("a name of %d bytes got a slot", len(name))
		}
	}
	mustAssign(t, p, strings.Repeat("x", 255))
}

func TestANameGivenOutStaysWhatItWas(t *testing.T) {
	c := newClock()
	p := small(t, 3000, c)
	var given, want []string
	for i := range 30000 {
		name := fmt.Sprintf("host%d.%s.example.com", i, strings.Repeat("x", i%60))
		got, _ := p.NameOf(mustAssign(t, p, name))
		given, want = append(given, got), append(want, name)
		c.advance(20 * time.Millisecond)
	}
	for i := range given {
		if given[i] != want[i] {
			t.Fatalf("name %d became %q, was %q", i, given[i], want[i])
		}
	}
}

func TestAllMayChangeThePool(t *testing.T) {
	p := small(t, 0, newClock())
	for i := range 100 {
		mustAssign(t, p, fmt.Sprintf("n%d", i))
	}
	seen := 0
	for s, name := range p.All() {
		if got, ok := p.slotOf(name); !ok || got != s {
			t.Fatalf("All yields %d, %q; its slot is %d", s, name, got)
		}
		p.Told(s)
		if seen++; seen == 50 {
			mustAssign(t, p, "new")
		}
	}
	if seen != 101 {
		t.Errorf("All yielded %d names, want 101", seen)
	}
}

func TestManyGoroutinesSeeOneRelation(t *testing.T) {
	p, err := Open(Config{
		Prefix4: netip.MustParsePrefix("198.18.0.0/24"),
		Keep:    time.Second,
		Journal: filepath.Join(t.TempDir(), "journal"),
		Now:     hurried(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for range 3000 {
				name := fmt.Sprintf("n%d", r.IntN(600))
				s, fresh, ok := p.Assign(name)
				if !ok {
					continue
				}
				if fresh {
					p.Told(s)
				}
				addr, _ := p.Addrs(s)
				if !p.Hold(addr) {
					continue // long enough ago by this clock to be gone
				}
				held, ok := p.NameOf(addr)
				runtime.Gosched()
				if again, _ := p.NameOf(addr); !ok || again != held {
					t.Errorf("the held address %s stood for %q, then for %q", addr, held, again)
				}
				p.Release(addr)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			for s, name := range p.All() {
				_, _ = s, name
			}
			p.Stats()
		}
	})
	wg.Wait()
	checkBijection(t, p)
	if p.Stats().Reused == 0 {
		t.Error("no slot was reused: the test tests nothing")
	}
}

// hurried is a clock that goes on by 50 ms whenever it is read.
func hurried() func() time.Time {
	c := newClock()
	return func() time.Time {
		c.advance(50 * time.Millisecond)
		return c.Now()
	}
}

// slotOf finds the slot of a name, and changes nothing.
func (p *Pool) slotOf(name string) (Slot, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s := p.names.find(name)
	return s, s != 0
}

// checkBijection compares both directions of a pool that is at rest.
func checkBijection(t *testing.T, p *Pool) {
	t.Helper()
	n := 0
	for s, name := range p.All() {
		if got, ok := p.slotOf(name); !ok || got != s {
			t.Fatalf("slot %d has the name %q, which has slot %d, %t", s, name, got, ok)
		}
		n++
	}
	if got := p.Stats().Names; got != n {
		t.Fatalf("Stats().Names = %d, All yields %d", got, n)
	}
}

func TestKnownNamesAndAddressesCostNoAllocation(t *testing.T) {
	p := full(t)
	addr := mustAssign(t, p, "www.example.com")
	for what, do := range map[string]func(){
		"Assign":           func() { p.Assign("www.example.com") },
		"NameOf":           func() { p.NameOf(addr) },
		"Hold and Release": func() { p.Hold(addr); p.Release(addr) },
	} {
		if n := testing.AllocsPerRun(1000, do); n != 0 {
			t.Errorf("%s allocates %v times", what, n)
		}
	}
}

func TestANameOfTwentyFourOctetsCostsForty(t *testing.T) {
	tests := []struct {
		what            string
		slots, assigned int
		most            float64
	}{
		{"110,000 names", 0, 110_000, 40},
		{"just when the index has doubled", 0, 1<<16*7/8 + 1, 44},
		{"every slot of a /15", 0, 1<<17 - 2, 44},
		{"after every slot was reused twice", 20_000, 60_000, 50}, // a quarter of the names in memory may be old ones
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			c := newClock()
			before := heap()
			p := small(t, tt.slots, c)
			name := []byte("host-0000000.example.com")
			for i := range tt.assigned {
				copy(name[5:], fmt.Sprintf("%07d", i*7919%10_000_000))
				if _, _, ok := p.Assign(string(name)); !ok {
					t.Fatalf("no slot for name %d", i)
				}
				c.advance(2 * time.Millisecond)
			}
			perName := float64(heap()-before) / float64(p.Stats().Names)
			t.Logf("%.1f bytes a name", perName)
			if perName > tt.most {
				t.Errorf("a name costs %.1f bytes with its own, want %v at most", perName, tt.most)
			}
			runtime.KeepAlive(p)
		})
	}
}

func heap() int {
	runtime.GC()
	runtime.GC() // what the first one only finds, the second gives back
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
