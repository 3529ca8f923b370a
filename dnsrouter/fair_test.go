package dnsrouter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/dnsrouter/cache"
	"github.com/fairlead/fairlead/dnsrouter/fakeip"
	"github.com/fairlead/fairlead/gateway/policy"
)

func TestADeviceThatFloodsIsHeldBackWhileOthersAsk(t *testing.T) {
	turns, now := newTurns(func(a netip.Addr) policy.DeviceKey { return policy.Device{Addr: a}.Key() }), time.Now()
	count := func(n int) (taken int) {
		for range 3 * turnsEach {
			if turns.take(number(n), now) {
				taken++
			}
		}
		return taken
	}
	if got := count(1); got != 3*turnsEach {
		t.Errorf("%d questions of the only device are taken, want all %d", got, 3*turnsEach)
	}
	if !turns.take(number(2), now) {
		t.Error("the first question of a second device is not taken")
	}
	if got := count(1); got != 0 {
		t.Errorf("then %d more of the first, want none", got)
	}
	now = now.Add(time.Second)
	if got := count(1); got != turnsEach {
		t.Errorf("in the second after that %d are taken, want %d", got, turnsEach)
	}
	now = now.Add(time.Second)
	if got := count(1); got != 3*turnsEach {
		t.Errorf("when nobody else asks any more %d are taken, want all %d", got, 3*turnsEach)
	}
}

func TestManyForgedAddressesAreCountedTogether(t *testing.T) {
	tally, now := tally{period: time.Second}, time.Now()
	for n := range 3 * maxTally {
		tally.add(policy.Device{Addr: number(n)}.Key(), now)
	}
	if got := len(tally.of); got > maxTally+1 {
		t.Errorf("%d devices are counted apart, want %d at most", got, maxTally)
	}
	if got, want := tally.add(policy.Device{Addr: number(3 * maxTally)}.Key(), now), 2*maxTally+1; got != want {
		t.Errorf("one more is the %d-th of its kind, want the %d-th", got, want)
	}
}

// someKnown are devices of which only the addresses within a prefix are known.
type someKnown struct {
	byAddress
	prefix netip.Prefix
}

func (s someKnown) Known(a netip.Addr) (policy.Device, bool) {
	return policy.Device{Addr: a, MAC: policy.MAC{2}}, s.prefix.Contains(a)
}

func TestClientsAreCountedByTheirDevice(t *testing.T) {
	l := newLAN(t, nil)
	l.deps.Devices = someKnown{prefix: netip.MustParsePrefix("2001:db8:1::/64")}
	share := func(text string) policy.DeviceKey { return l.share(netip.MustParseAddr(text)) }
	for _, tt := range []struct {
		name, one, other string
		same             bool
	}{
		{"two addresses of a known device", "2001:db8:1::1", "2001:db8:1::2", true},
		{"two unknown addresses of a network", "2001:db8:2::1", "2001:db8:2::2", true},
		{"unknown addresses of two networks", "2001:db8:2::1", "2001:db8:3::1", false},
		{"two unknown addresses over IPv4", "192.168.1.1", "192.168.1.2", false},
	} {
		if got := share(tt.one) == share(tt.other); got != tt.same {
			t.Errorf("%s are counted as one: %t, want %t", tt.name, got, tt.same)
		}
	}
}

func TestTheNamesOfOneDeviceDoNotTakeAllFakeAddresses(t *testing.T) {
	l := newLAN(t, nil) // the pool is a /24
	for n := range 300 {
		l.ask(laptop, fmt.Sprintf("n%d.node.example", n), dns.TypeA)
	}
	if got := l.pool.Stats(); got.Names >= got.Slots || got.Exhausted > 0 {
		t.Errorf("one device has %d of %d addresses, want some to be left", got.Names, got.Slots)
	}
	if got := addrs(l.ask(laptop, "one.more.node.example", dns.TypeA)); !slices.Equal(got, []string{remoteAnswer.String()}) {
		t.Errorf("its next name has the addresses %v, want real ones", got)
	}
	other := netip.MustParseAddr("192.168.1.11")
	if got := addrs(l.ask(other, "another.node.example", dns.TypeA)); len(got) != 1 || !isFake(l.plan, got[0]) {
		t.Errorf("a name of another device has the addresses %v, want a fake one", got)
	}
	if got := addrs(l.ask(laptop, "n0.node.example", dns.TypeA)); len(got) != 1 || !isFake(l.plan, got[0]) {
		t.Errorf("a name that has one already has the addresses %v, want a fake one", got)
	}
}

func TestTakingsAreForgottenAfterAnHour(t *testing.T) {
	var takings takings
	full, now := fakeip.Stats{Names: 1000, Slots: 1000}, time.Now()
	for range 1000 {
		takings.allow(device(1).Key(), full, now)
	}
	if takings.allow(device(1).Key(), full, now.Add(takingTime-1)) {
		t.Error("a device has more than its share, want it to wait")
	}
	if !takings.allow(device(1).Key(), full, now.Add(takingTime)) {
		t.Error("a device has nothing after an hour")
	}
}

// crowd are the questions of many clients over UDP, handed in one by one.
type crowd struct {
	in  chan asking
	out chan asking
}

type asking struct {
	msg    []byte
	client netip.Addr
}

func (c *crowd) Read() ([]byte, netip.AddrPort, netip.AddrPort, error) {
	a, ok := <-c.in
	if !ok {
		return nil, netip.AddrPort{}, netip.AddrPort{}, net.ErrClosed
	}
	return a.msg, netip.AddrPortFrom(a.client, 40000), serverPort, nil
}

func (c *crowd) Close() error { close(c.in); return nil }

func (c *crowd) Send(b []byte, _, to netip.AddrPort) error {
	c.out <- asking{slices.Clone(b), to.Addr()}
	return nil
}

// serveUDP serves a crowd until the test ends.
func (l *lan) serveUDP() *crowd {
	c := &crowd{make(chan asking), make(chan asking, maxWaiting)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.ServeUDP(ctx, c, c, nil) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("ServeUDP: %v", err)
		}
	})
	return c
}

func TestAFloodOverUDPIsNotAnsweredWhileOthersAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crowd := newLAN(t, nil).serveUDP()
		answered := func(client netip.Addr, n int) (answers int) {
			for range n {
				select {
				case crowd.in <- asking{packed(t, 7, "nas.lan.", dns.TypeA), client}:
				case <-crowd.out:
					answers++
					crowd.in <- asking{packed(t, 7, "nas.lan.", dns.TypeA), client}
				}
			}
			synctest.Wait()
			return answers + drain(crowd.out)
		}
		if got := answered(laptop, turnsEach+100); got != turnsEach+100 {
			t.Errorf("alone a device has %d answers, want all %d", got, turnsEach+100)
		}
		if got := answered(tv, 1); got != 1 {
			t.Errorf("another has %d answers, want 1", got)
		}
		if got := answered(laptop, 100); got != 0 {
			t.Errorf("then the first one has %d more, want none", got)
		}
	})
}

func drain(c chan asking) (n int) {
	for len(c) > 0 {
		<-c
		n++
	}
	return n
}

// stuck answers nobody until the test ends.
func (l *lan) stuck() (asked chan struct{}) {
	release := make(chan struct{})
	asked = make(chan struct{}, 2*maxInFlight)
	for _, s := range []*server{l.local, l.remote} {
		s.answer = func(*dns.Msg, upstreamQuestion) { asked <- struct{}{}; <-release }
	}
	l.t.Cleanup(func() { close(release) })
	return asked
}

// neighbour answers at once.
type quickNeighbour struct{ *server }

func (quickNeighbour) Here() bool { return true }

func TestDeadUpstreamsDoNotDelayWhatNeedsNone(t *testing.T) {
	l := newLAN(t, func(p *Plan) { p.Neighbour = quickNeighbour{always(localAnswer)} })
	rules := LocalRules{Domains: []string{"lan"}}
	l.deps.Local = ruled{l.deps.Local, &rules}
	crowd := l.serveUDP()
	ask := func(client netip.Addr, name string) { crowd.in <- asking{packed(t, 7, name+".", dns.TypeA), client} }
	ask(laptop, "known.direct.example")
	ask(laptop, "known.node.example")
	<-crowd.out
	<-crowd.out

	asked := l.stuck()
	flood := netip.MustParseAddr("192.168.1.100")
	for n := range maxInFlight { // four devices, each of which has its share
		if n%maxInFlightEach == 0 {
			flood = flood.Next()
		}
		ask(flood, fmt.Sprintf("n%d.direct.example", n))
	}
	for range maxInFlight {
		<-asked
	}
	ask(flood, "beyond.its.share.direct.example")
	if got := rcodeIn(t, <-crowd.out); got != dns.RcodeServerFailure {
		t.Errorf("a question beyond the places gets %s, want SERVFAIL at once", dns.RcodeToString[got])
	}

	began := time.Now()
	const rounds = 100
	for n := range rounds {
		for _, name := range []string{
			"known.direct.example", "known.node.example", fmt.Sprintf("n%d.node.example", n), "nas.lan", "of.dnsmasq.lan", "localhost",
		} {
			ask(laptop, name)
			if got := rcodeIn(t, <-crowd.out); got != dns.RcodeSuccess {
				t.Fatalf("%s: %s, want an answer", name, dns.RcodeToString[got])
			}
		}
	}
	if took := time.Since(began) / rounds / 6; took > 5*time.Millisecond {
		t.Errorf("an answer took %v, want 5 ms at most", took)
	}
}

// ruled are local names with rules of their own.
type ruled struct {
	Local
	rules *LocalRules
}

func (r ruled) Rules() *LocalRules { return r.rules }

func rcodeIn(t *testing.T, a asking) int {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(a.msg); err != nil {
		t.Fatal(err)
	}
	return m.Rcode
}

func TestWhoWaitsForAnOldAnswerToBeRenewedHasAPlace(t *testing.T) {
	l := newLAN(t, nil)
	l.ask(desk, "old.direct.example", dns.TypeA)
	plan := l.Router.plan.Load()
	q := &question{device: policy.Device{Addr: desk}}
	q.client = plan.Policy.Client(q.device)
	_ = q.Parse(packed(t, 1, "old.direct.example.", dns.TypeA))
	if state := q.recall(plan.cache, q.view(), time.Now().Add(time.Hour)); state != cache.Stale {
		t.Fatalf("the answer is %v an hour later, want it old", state)
	}
	for range maxInFlightEach - 1 { // the renewal gets the last one
		l.inFlight.enter(shareOf(q.device))
	}
	l.stuck()
	q.msg, q.name, q.limit = packed(t, 1, "old.direct.example.", dns.TypeA), "old.direct.example", 512
	began := time.Now()
	if _, err := l.aged(t.Context(), plan, q, source{upstream: "local", direct: true}, cache.Miss); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took >= clientPatience {
		t.Errorf("without a place the old answer took %v, want it at once", took)
	}
}
