package dnsrouter

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// kernelMap stands in for the way maps: elements that end by themselves, and
// failures.
type kernelMap struct {
	until map[place]time.Time
	way   map[place]Way
	fails func() bool
	twice []place // said to be set first, and there already
}

// place is where an element can be: an address in the map of a group.
type place struct {
	group int
	addr  netip.Addr
}

var errKernel = errors.New("the kernel refuses")

func newKernelMap() *kernelMap {
	return &kernelMap{until: make(map[place]time.Time), way: make(map[place]Way), fails: func() bool { return false }}
}

func (k *kernelMap) SetWays(all []AddrWay) error {
	if k.fails() {
		return errKernel
	}
	for _, w := range all {
		at := place{w.Group, w.Addr}
		if w.First && k.has(at) {
			k.twice = append(k.twice, at)
		}
		k.until[at], k.way[at] = time.Now().Add(w.TTL), w.Way
	}
	return nil
}

func (k *kernelMap) DelWay(group int, addr netip.Addr) error {
	if k.fails() {
		return errKernel
	}
	delete(k.until, place{group, addr})
	return nil
}

func (k *kernelMap) has(p place) bool { return k.until[p].After(time.Now()) }

// naive is what learned must come to, without its bounds: every answer that was
// given, judged anew each time.
type naive struct {
	t      *testing.T
	rng    *rand.Rand
	plan   *Plan
	given  map[netip.Addr]map[string]liveName
	kernel *kernelMap
	real   *learned
	// overflow are addresses that had more names at once than are remembered.
	overflow map[netip.Addr]bool
	steady   bool // the kernel never refused anything
	trace    []string
}

var worldAddrs = []netip.Addr{
	netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("203.0.113.1"),
	netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8::1"),
}

func (m *naive) name() string { return fmt.Sprintf("n%d.example", m.rng.IntN(maxNames+4)) }

// randomPlan is a policy over the names and addresses of the test.
func (m *naive) randomPlan() *Plan {
	pick := func(of ...string) string { return of[m.rng.IntN(len(of))] }
	cfg := policy.Config{
		Default: pick("direct", "direct", "node", "wg"), Sniff: true,
		Outbounds: []policy.Outbound{
			{Name: "node", Kind: policy.Node}, {Name: "wg", Kind: policy.Interface}, {Name: "wan2", Kind: policy.Interface},
		},
		LocalUpstream: "local", RemoteUpstream: "remote",
	}
	for i := range m.rng.IntN(3) {
		cfg.Clients = append(cfg.Clients, policy.Section{Name: fmt.Sprint("c", i), Outbound: pick("", "direct", "node", "wan2")})
	}
	for i := range m.rng.IntN(5) {
		r := policy.Rule{Name: fmt.Sprint("r", i), Outbound: pick("direct", "direct", "node", "wg", "wan2", "reject"), Resolve: m.rng.IntN(3) == 0}
		if m.rng.IntN(2) == 0 {
			p, _ := policy.ParsePattern("full:" + m.name())
			r.Domains = append(r.Domains, p)
		} else {
			addr := worldAddrs[m.rng.IntN(len(worldAddrs))]
			r.Prefixes = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen()-m.rng.IntN(3)).Masked()}
		}
		if m.rng.IntN(4) == 0 {
			r.Ports = []policy.PortRange{{First: 22, Last: 22}}
		}
		if n := len(cfg.Clients); n > 0 && m.rng.IntN(3) == 0 {
			r.Clients = []string{cfg.Clients[m.rng.IntN(n)].Name}
		}
		cfg.Rules = append(cfg.Rules, r)
	}
	plan := &Plan{Policy: policy.New(cfg), Interfaces: map[string]Way{"wg": 3, "wan2": 4}}
	for c := range plan.Policy.Clients() {
		plan.Learns = append(plan.Learns, !plan.Policy.AnyName(policy.Client(c)).AllDirect)
	}
	return plan
}

// step does one random thing.
func (m *naive) step() {
	switch n := m.rng.IntN(20); {
	case n < 13:
		m.answer()
	case n < 16:
		wait := time.Duration(m.rng.IntN(900)) * time.Second
		m.note("%s later", wait)
		time.Sleep(wait)
	case n < 18:
		m.reload()
	case n == 18:
		m.note("sweep")
		m.real.sweep(time.Now())
	default:
		m.note("the table is made anew")
		before := maps.Clone(m.kernel.until)
		clear(m.kernel.until)
		if err := m.real.restore(); err != nil {
			return
		}
		for p, until := range before {
			if until.After(time.Now()) && !m.kernel.has(p) {
				m.note("%v is missing", p)
				m.t.Errorf("after %s", m.trace)
			}
		}
	}
}

func (m *naive) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *naive) answer() {
	now := time.Now()
	// The client's section may be gone since its question was read.
	group := policy.Client(m.rng.IntN(m.plan.Policy.Clients() + 1))
	addrs := slices.Clone(worldAddrs)
	m.rng.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	addrs = addrs[:1+m.rng.IntN(2)]
	name, ttl := m.name(), time.Duration(m.rng.IntN(900))*time.Second
	err := m.real.answer(group, name, addrs, ttl, now)
	m.note("%s = %v for %s, to group %d: %v", name, addrs, ttl, group, err)
	if err != nil {
		return // SERVFAIL: no client has the addresses
	}
	for _, a := range addrs {
		if m.given[a] == nil {
			m.given[a] = make(map[string]liveName)
		}
		until := later(m.given[a][name].until, now.Add(ttl+grace))
		m.given[a][name] = liveName{name: name, with: addrs, until: until}
		m.overflow[a] = m.overflow[a] || m.live(a) > maxNames
		m.useful(group, a)
	}
}

func (m *naive) live(a netip.Addr) (n int) {
	for _, name := range m.given[a] {
		if !name.until.Before(time.Now()) {
			n++
		}
	}
	return n
}

// useful says that an address is in the map after an answer that allows it.
func (m *naive) useful(group policy.Client, a netip.Addr) {
	if !m.steady || m.overflow[a] || int(group) >= len(m.plan.Learns) || !m.plan.Learns[group] {
		return
	}
	for _, way := range []Way{Direct, 3, 4} {
		if m.elsewhere(group, a, way) == "" && !m.kernel.has(place{int(group), a}) {
			m.t.Errorf("%s is not in the map of group %d, though all its live names leave by way %d", a, group, way)
		}
	}
}

func (m *naive) reload() {
	next := m.randomPlan()
	err := m.real.judgeAgain(next)
	m.note("reload: %v", err)
	if err == nil {
		m.plan = next
		return
	}
	if err := m.real.judgeAgain(m.plan); err != nil {
		m.note("going back: %v", err)
	}
}

// elsewhere is a live name of an address that may leave another way than this
// one for a client of the group.
func (m *naive) elsewhere(group policy.Client, a netip.Addr, way Way) string {
	for _, name := range slices.Sorted(maps.Keys(m.given[a])) {
		n := m.given[a][name]
		if n.until.Before(time.Now()) {
			continue
		}
		ways := m.plan.Policy.Answered(group, name, a, n.with...)
		switch {
		case way == Direct && ways.AllDirect:
		case !ways.Open && !ways.NeedsAddr && m.plan.Interfaces[ways.First.Outbound] == way:
		default:
			return name
		}
	}
	return ""
}

// check is the invariant of learned.
func (m *naive) check() {
	for _, p := range m.kernel.twice {
		m.t.Errorf("the kernel was told that %s is new to the map of group %d, where it was", p.addr, p.group)
	}
	for p := range m.kernel.until {
		if !m.kernel.has(p) {
			continue
		}
		if p.group >= m.plan.Policy.Clients() {
			m.t.Errorf("%s is in the map of group %d, which does not exist", p.addr, p.group)
		} else if name := m.elsewhere(policy.Client(p.group), p.addr, m.kernel.way[p]); name != "" {
			m.t.Errorf("%s is in the map of group %d by way %d, but %s may leave another way", p.addr, p.group, m.kernel.way[p], name)
		}
	}
}

func TestNoAddressHasAWayThatALiveNameOfItMayNotTake(t *testing.T) {
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			m := &naive{
				t: t, rng: rand.New(rand.NewPCG(seed, 1)), kernel: newKernelMap(), steady: seed%2 == 0,
				given: make(map[netip.Addr]map[string]liveName), overflow: make(map[netip.Addr]bool),
			}
			if !m.steady {
				m.kernel.fails = func() bool { return m.rng.IntN(4) == 0 }
			}
			m.plan = m.randomPlan()
			m.real = newLearned(m.kernel, m.plan)
			for range 150 {
				m.step()
				if m.check(); t.Failed() {
					t.Fatalf("seed %d, after:\n%s", seed, lines(m.trace))
				}
			}
		})
	}
}

func lines(trace []string) (text string) {
	for _, line := range trace[max(0, len(trace)-40):] {
		text += "\t" + line + "\n"
	}
	return text
}
