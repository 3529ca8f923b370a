package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/miekg/dns"
)

// underWay counts the questions that have no answer yet.
func (u *Upstream) underWay() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.flights)
}

func TestTwentyEqualQuestionsAreAskedOnce(t *testing.T) {
	u := (*Upstream)(nil)
	addr, seen := serveUDP(t, func(a asked) [][]byte {
		eventually(t, "all wait", func() bool { return u.env.count.merged.Load() == 19 })
		return [][]byte{a.reply(right, nil)}
	})
	u = open(t, &way{}, Options{}, udp(addr))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { wantAddress(t, u, "www.example.com", right) })
	}
	all.Wait()
	if got, want := len(seen.all()), 1; got != want {
		t.Errorf("the server was asked %d times, want %d", got, want)
	}
}

func TestQuestionsThatDifferInAFlagAreNotMerged(t *testing.T) {
	gate := make(chan struct{})
	addr, seen := serveUDP(t, func(a asked) [][]byte {
		<-gate
		return [][]byte{a.reply(right, nil)}
	})
	u := open(t, &way{}, Options{}, udp(addr))
	var all sync.WaitGroup
	for _, q := range []Question{
		{Name: "a.example", Type: wire.TypeA, Class: wire.ClassIN},
		{Name: "a.example", Type: wire.TypeA, Class: wire.ClassIN, DO: true},
		{Name: "a.example", Type: wire.TypeA, Class: wire.ClassIN, CD: true},
	} {
		all.Go(func() {
			if _, err := u.Exchange(within(t, 5*time.Second), q); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "three flights", func() bool { return u.underWay() == 3 })
	close(gate)
	all.Wait()
	if got, want := len(seen.all()), 3; got != want {
		t.Errorf("the server was asked %d times, want %d", got, want)
	}
}

func TestAFloodOfQuestionsIsBounded(t *testing.T) {
	addr, _ := serveUDP(t, silent)
	u := open(t, &way{}, Options{}, udp(addr))
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range maxFlights {
		all.Go(func() { u.Exchange(ctx, question(fmt.Sprintf("n%d.example", i))) })
	}
	eventually(t, "all are under way", func() bool { return u.underWay() == maxFlights })
	if _, err := u.Exchange(ctx, question("one.more.example")); !errors.Is(err, ErrBusy) {
		t.Errorf("Exchange = %v, want %v", err, ErrBusy)
	}
	cancel()
	all.Wait()
	if got := u.underWay(); got != 0 {
		t.Errorf("%d flights are left that nobody waits for", got)
	}
}

func TestADeadServerIsHedgedAndThenAskedLast(t *testing.T) {
	dead, deadSaw := serveUDP(t, silent)
	live, _ := serveUDP(t, answers(right))
	u := open(t, &way{}, Options{}, udp(dead), udp(live))
	was := func(s *server, rtt time.Duration) {
		s.health.mu.Lock()
		defer s.health.mu.Unlock()
		s.health.answers, s.health.rtt, s.health.deviance, s.health.p95 = 1, rtt, 0, rtt
	}
	for i := range failuresAllowed {
		servers := u.current()
		was(servers[0], time.Millisecond) // the best, until it died
		was(servers[1], 20*time.Millisecond)
		start := time.Now()
		wantAddress(t, u, fmt.Sprintf("n%d.example", i), right)
		if took := time.Since(start); took < minDelay-time.Millisecond || took > maxDelay {
			t.Errorf("question %d took %v, want between %v and %v", i, took, minDelay, maxDelay)
		}
		eventually(t, "the failure is on record", func() bool {
			h := &servers[0].health
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.failures == i+1
		})
	}
	before := len(deadSaw.all())
	wantAddress(t, u, "last.example", right)
	if got := len(deadSaw.all()); got != before {
		t.Errorf("the dead server was asked again while backed off")
	}
}

// An answer that takes longer than minDelay, on a machine with other work, is
// reason enough to ask the second server: then all begins anew.
func TestOnlyOneServerIsAskedWhileItAnswers(t *testing.T) {
	for quick := 0; quick < 20; {
		first, _ := serveUDP(t, answers(right))
		second, secondSaw := serveUDP(t, answers(right))
		u := open(t, &way{}, Options{}, udp(first), udp(second))
		for quick = 0; quick < 20; quick++ {
			began := time.Now()
			wantAddress(t, u, fmt.Sprintf("n%d.example", quick), right)
			if time.Since(began) >= minDelay {
				break
			}
			if got := len(secondSaw.all()); got != 0 {
				t.Fatalf("after %d quick answers the second server was asked %d times, want 0", quick, got)
			}
		}
	}
}

func TestAServerThatRefusesIsFollowedByTheNext(t *testing.T) {
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeFormatError, dns.RcodeNotImplemented} {
		bad, _ := serveUDP(t, fails(rcode))
		good, _ := serveUDP(t, answers(right))
		u := open(t, &way{}, Options{}, udp(bad), udp(good))
		wantAddress(t, u, "www.example.com", right)
	}
}

func TestTheLastPoorAnswerIsBetterThanNone(t *testing.T) {
	bad, _ := serveUDP(t, fails(dns.RcodeServerFailure))
	closed := netip.MustParseAddrPort("127.0.0.1:1")
	u := open(t, &way{}, Options{}, udp(bad), udp(closed))
	answer, err := u.Exchange(within(t, 5*time.Second), question("www.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if got := wire.Rcode(answer); got != wire.RcodeServFail {
		t.Errorf("rcode = %d, want %d", got, wire.RcodeServFail)
	}
}

func TestNoSuchNameIsAnAnswer(t *testing.T) {
	first, _ := serveUDP(t, fails(dns.RcodeNameError))
	second, secondSaw := serveUDP(t, answers(right))
	u := open(t, &way{}, Options{}, udp(first), udp(second))
	answer, err := u.Exchange(within(t, 5*time.Second), question("nx.example"))
	if err != nil || wire.Rcode(answer) != wire.RcodeNXDomain {
		t.Errorf("got rcode %d, %v, want NXDOMAIN", wire.Rcode(answer), err)
	}
	if got := len(secondSaw.all()); got != 0 {
		t.Errorf("the second server was asked %d times, want 0", got)
	}
}

func TestServersThatAllFailAreAnErrorAtOnce(t *testing.T) {
	u := open(t, &way{}, Options{}, udp(netip.MustParseAddrPort("127.0.0.1:1")), Server{Scheme: "quic", Addr: netip.MustParseAddrPort("127.0.0.1:1")})
	start := time.Now()
	if _, err := u.Exchange(within(t, 5*time.Second), question("www.example.com")); err == nil {
		t.Error("Exchange gave an answer, want an error")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v, want less than a second", took)
	}
}

func TestTheCallersContextEndsItsWaitAlone(t *testing.T) {
	gate := make(chan struct{})
	addr, _ := serveUDP(t, func(a asked) [][]byte {
		<-gate
		return [][]byte{a.reply(right, nil)}
	})
	u := open(t, &way{}, Options{}, udp(addr))
	ctx, cancel := context.WithCancel(context.Background())
	patient := make(chan netip.Addr)
	go func() { patient <- address(t, u, "www.example.com") }()
	eventually(t, "the question is under way", func() bool { return u.underWay() == 1 })
	cancel()
	if _, err := u.Exchange(ctx, question("www.example.com")); !errors.Is(err, context.Canceled) {
		t.Errorf("Exchange = %v, want %v", err, context.Canceled)
	}
	close(gate)
	if got := <-patient; got != right {
		t.Errorf("the other caller got %v, want %v", got, right)
	}
}

func TestWhoWaitsForAnothersQuestionAsksAgainWhenThatOneLeaves(t *testing.T) {
	came := make(chan struct{}, 1)
	addr, _ := serveUDP(t, func(a asked) [][]byte {
		select {
		case came <- struct{}{}:
			return nil
		default:
			return [][]byte{a.reply(right, nil)}
		}
	})
	u := open(t, &way{}, Options{}, udp(addr))
	ctx, cancel := context.WithCancel(context.Background())
	var first sync.WaitGroup
	first.Go(func() { u.Exchange(ctx, question("www.example.com")) })
	eventually(t, "the first is under way", func() bool { return u.underWay() == 1 })
	patient := make(chan netip.Addr)
	go func() { patient <- address(t, u, "www.example.com") }()
	eventually(t, "the second waits for it", func() bool { return u.env.count.merged.Load() == 1 })
	eventually(t, "it was sent", func() bool { return len(came) == 1 })
	cancel()
	first.Wait()
	if got := <-patient; got != right {
		t.Errorf("the second got %v, want %v", got, right)
	}
}

// deaf is a Dialer to whom nobody answers.
type deaf struct{ pipes }

func (*deaf) DialUDP(context.Context, string, netip.AddrPort) (net.Conn, error) {
	client, server := net.Pipe()
	go io.Copy(io.Discard, server)
	return client, nil
}

func TestAQuestionThatNobodyAnswersIsGivenUpInTime(t *testing.T) {
	one, two := netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.54:53")
	byName := Server{Scheme: "udp", Host: "dns.test", Addr: netip.AddrPortFrom(netip.Addr{}, 53)}
	for name, cfg := range map[string]Config{
		"one server":       {Servers: []Server{udp(one)}},
		"two servers":      {Servers: []Server{udp(one), udp(two)}},
		"a server by name": {Servers: []Server{byName}, Bootstrap: []netip.AddrPort{one}},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := New(cfg, &deaf{}, Options{})
			defer u.Close()
			var all sync.WaitGroup
			for _, asked := range []string{"a.example", "b.example"} {
				all.Go(func() {
					began := time.Now()
					_, err := u.Exchange(t.Context(), question(asked))
					if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != totalTime {
						t.Errorf("%s: %v after %v, want that the time is over after %v", name, err, took, totalTime)
					}
				})
			}
			all.Wait()
		})
	}
}

func TestTheWANsOwnResolversAreTakenAsTheyAre(t *testing.T) {
	one, _ := serveUDP(t, answers(right))
	two, _ := serveUDP(t, answers(forged))
	var mu sync.Mutex
	var list []netip.AddrPort
	set := func(addrs ...netip.AddrPort) {
		mu.Lock()
		defer mu.Unlock()
		list = addrs
	}
	u := open(t, &way{}, Options{Auto: func() []netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		return list
	}}, Server{Scheme: "auto"})
	if _, err := u.Exchange(within(t, 5*time.Second), question("none.example")); !errors.Is(err, errNoServers) {
		t.Errorf("Exchange = %v, want %v", err, errNoServers)
	}
	set(one)
	wantAddress(t, u, "a.example", right)
	set(two)
	wantAddress(t, u, "b.example", forged)
}

func TestAQuestionUnderWayKnowsThatItsUpstreamWasClosed(t *testing.T) {
	for _, servers := range []int{1, 2} {
		heard := make(chan struct{}, 8)
		var list []Server
		for range servers {
			addr, _ := serveUDP(t, func(asked) [][]byte { heard <- struct{}{}; return nil })
			list = append(list, udp(addr))
		}
		u := New(Config{Name: "test", Servers: list}, &way{}, Options{})
		ended := make(chan error)
		go func() {
			_, err := u.Exchange(context.Background(), question("a.example"))
			ended <- err
		}()
		<-heard
		u.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("%d servers: Exchange = %v, want %v", servers, err, ErrClosed)
		}
	}
}

func TestNothingIsAskedAfterClose(t *testing.T) {
	addr, seen := serveUDP(t, answers(right))
	u := New(Config{Name: "test", Servers: []Server{udp(addr)}}, &way{}, Options{})
	u.Close()
	if _, err := u.Exchange(within(t, 5*time.Second), question("a.example")); !errors.Is(err, ErrClosed) {
		t.Errorf("Exchange = %v, want %v", err, ErrClosed)
	}
	if got := len(seen.all()); got != 0 {
		t.Errorf("the server was asked %d times, want 0", got)
	}
}

func TestCloseEndsQuestionsUnderWayAndLeavesNothingBehind(t *testing.T) {
	authority := newAuthority(t)
	plain, _ := serveUDP(t, silent)
	stream, _ := serveTCP(t, netip.MustParseAddrPort("127.0.0.1:0"), nil, silent)
	secure, _ := serveTCP(t, netip.MustParseAddrPort("127.0.0.1:0"), authority.server(t, "dns.test"), silent)
	web, _ := serveWeb(t, authority, "dns.test", silent)
	before := runtime.NumGoroutine()
	u := New(Config{Name: "test", Servers: []Server{
		udp(plain), {Scheme: "tcp", Addr: stream}, {Scheme: "tls", Host: "dns.test", Addr: secure}, {Scheme: "https", Host: "dns.test", Addr: web},
	}}, &way{}, Options{TLS: authority.client()})
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if _, err := u.Exchange(context.Background(), question(fmt.Sprintf("n%d.example", i))); err == nil {
				t.Error("Exchange gave an answer, want an error")
			}
		})
	}
	eventually(t, "all servers were asked", func() bool { return u.env.count.asked.Load() == 40 })
	u.Close()
	all.Wait()
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}

func TestANameThatIsNoneIsNoServersFault(t *testing.T) {
	addr, seen := serveUDP(t, answers(right))
	u := open(t, &way{}, Options{}, udp(addr))
	if _, err := u.Exchange(within(t, 5*time.Second), question("a..b")); !errors.Is(err, wire.ErrName) {
		t.Errorf("Exchange = %v, want %v", err, wire.ErrName)
	}
	if got := len(seen.all()); got != 0 {
		t.Errorf("the server was asked %d times, want 0", got)
	}
}
