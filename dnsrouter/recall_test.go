package dnsrouter

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// denies answers that there is no such name, or no such data, for so many
// seconds by its SOA record (RFC 2308).
func denies(rcode int, seconds string) *server {
	return &server{answer: func(m *dns.Msg, _ upstreamQuestion) {
		m.Rcode = rcode
		m.Ns = []dns.RR{record("node.example. 86400 IN SOA ns.node.example. root.node.example. 1 2 3 4 " + seconds)}
	}}
}

func (l *lan) asksRemote(want int, when string) {
	l.t.Helper()
	if got := len(l.remote.questions()); got != want {
		l.t.Errorf("%s the upstream has been asked %d times, want %d", when, got, want)
	}
}

func TestNoSuchNameIsTrueOfEveryTypeForAsLongAsTheSOASays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		l.remote.answer = denies(dns.RcodeNameError, "100").answer
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeTXT, dns.TypeA} {
			got := l.ask(tv, "www.node.example", qtype)
			l.rcode(got, dns.RcodeNameError)
			if len(got.Ns) != 1 || got.Ns[0].Header().Ttl != 100 {
				t.Errorf("type %d: authority = %v, want the SOA record with its minimum, 100", qtype, got.Ns)
			}
		}
		l.asksRemote(1, "at once")
		l.ask(desk, "www.node.example", dns.TypeA)
		if len(l.local.questions()) != 1 {
			t.Error("another view was given the answer")
		}
		time.Sleep(101 * time.Second)
		l.ask(tv, "www.node.example", dns.TypeTXT)
		l.asksRemote(2, "after its end")
	})
}

func TestNoSuchDataIsTrueOfItsTypeOnly(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.answer = denies(dns.RcodeSuccess, "100").answer
	for range 2 {
		l.ask(tv, "www.node.example", dns.TypeA)
		l.ask(tv, "www.node.example", dns.TypeTXT)
	}
	l.asksRemote(2, "with two types")
}

func TestAnAliasOfNoSuchNameIsKeptForItsTypeOnly(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.answer = func(m *dns.Msg, q upstreamQuestion) {
		denies(dns.RcodeNameError, "100").answer(m, q)
		m.Answer = []dns.RR{record("www.node.example. 60 IN CNAME gone.node.example.")}
	}
	l.ask(tv, "www.node.example", dns.TypeA)
	l.ask(tv, "www.node.example", dns.TypeCNAME)
	l.asksRemote(2, "of a name that exists")
}

func TestANameThatComesToExistIsNotDeniedByAnOldAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		exists := l.remote.answer
		l.remote.answer = denies(dns.RcodeNameError, "100").answer
		l.ask(tv, "www.node.example", dns.TypeA)
		time.Sleep(101 * time.Second)
		l.remote.answer = exists
		l.rcode(l.ask(tv, "www.node.example", dns.TypeA), dns.RcodeSuccess)
		time.Sleep(301 * time.Second)
		l.remote.fail(true)
		l.rcode(l.ask(tv, "www.node.example", dns.TypeA), dns.RcodeSuccess)
		l.rcode(l.ask(tv, "www.node.example", dns.TypeTXT), dns.RcodeServerFailure)
	})
}

func TestADenialWithoutASOAIsNotKept(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.answer = func(m *dns.Msg, _ upstreamQuestion) { m.Rcode = dns.RcodeNameError }
	for range 2 {
		if got := l.ask(tv, "www.node.example", dns.TypeA); len(got.Ns) != 1 || got.Ns[0].Header().Ttl != negativeTTL {
			t.Errorf("authority = %v, want a SOA record of ours", got.Ns)
		}
	}
	l.asksRemote(2, "without a SOA record")
}

func TestADenialIsNotKeptForADay(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.answer = denies(dns.RcodeNameError, "86400").answer
	if got := l.ask(tv, "www.node.example", dns.TypeA); len(got.Ns) != 1 || got.Ns[0].Header().Ttl != 3*3600 {
		t.Errorf("authority = %v, want three hours at most", got.Ns)
	}
}

// ede is the code of an extended error (RFC 8914), -1 without.
func ede(m *dns.Msg) int {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}

func (l *lan) wantEDE(m *dns.Msg, want int) {
	l.t.Helper()
	if got := ede(m); got != want {
		l.t.Errorf("%s: extended error %d, want %d", m.Question[0].Name, got, want)
	}
}

func TestAFailureIsKeptForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		answer := l.remote.answer
		l.remote.answer = func(m *dns.Msg, _ upstreamQuestion) { m.Rcode = dns.RcodeServerFailure }
		first := l.ask(tv, "www.node.example", dns.TypeA)
		l.rcode(first, dns.RcodeServerFailure)
		l.wantEDE(first, 22)
		l.remote.answer = answer
		again := l.ask(tv, "www.node.example", dns.TypeA)
		l.rcode(again, dns.RcodeServerFailure)
		l.wantEDE(again, 13)
		l.asksRemote(1, "a moment after the failure")
		l.rcode(l.ask(desk, "www.node.example", dns.TypeA), dns.RcodeSuccess)
		time.Sleep(failureTime)
		l.rcode(l.ask(tv, "www.node.example", dns.TypeA), dns.RcodeSuccess)
	})
}

func TestAFailureThatIsKnownNeedsNobody(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.fail(true)
	l.wantEDE(l.ask(tv, "www.node.example", dns.TypeA), 23)
	m := new(dns.Msg)
	m.SetQuestion("www.node.example.", dns.TypeA)
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.answer(t.Context(), &question{hurry: true}, raw, tv, 0); err != nil {
		t.Errorf("in a hurry: %v, want an answer at once", err)
	}
}

func TestAnOldDenialSaysThatItIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		l.remote.answer = denies(dns.RcodeNameError, "100").answer
		l.ask(tv, "www.node.example", dns.TypeA)
		l.remote.fail(true)
		time.Sleep(time.Hour)
		got := l.ask(tv, "www.node.example", dns.TypeA)
		l.rcode(got, dns.RcodeNameError)
		l.wantEDE(got, 19)
	})
}

func TestAnOldAnswerIsGivenWhenANewOneDoesNotComeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		l.ask(tv, "www.node.example", dns.TypeA)
		time.Sleep(time.Hour)
		answer := l.remote.answer
		l.remote.answer = func(m *dns.Msg, q upstreamQuestion) { time.Sleep(3 * time.Second); answer(m, q) }
		began := time.Now()
		got := l.ask(tv, "www.node.example", dns.TypeA)
		l.wantEDE(got, 3)
		if took := time.Since(began); took != clientPatience || len(addrs(got)) != 1 {
			t.Errorf("%v came after %v, want the old address after %v", addrs(got), took, clientPatience)
		}
		time.Sleep(2 * time.Second) // the new one has come
		l.wantEDE(l.ask(tv, "www.node.example", dns.TypeA), -1)
		l.asksRemote(2, "after one renewal")
	})
}

func TestNobodyWaitsForWhatFailedTheLastTimeIfThereIsAnOldAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		l.ask(tv, "www.node.example", dns.TypeA)
		time.Sleep(time.Hour)
		answer := l.remote.answer
		l.remote.answer = func(m *dns.Msg, _ upstreamQuestion) { time.Sleep(3 * time.Second); m.Rcode = dns.RcodeServerFailure }
		l.ask(tv, "www.node.example", dns.TypeA) // finds out
		time.Sleep(time.Minute)
		for range 3 {
			began := time.Now()
			l.wantEDE(l.ask(tv, "www.node.example", dns.TypeA), 3)
			if took := time.Since(began); took > 0 {
				t.Errorf("the old answer came after %v, want it at once", took)
			}
		}
		synctest.Wait()
		l.asksRemote(3, "with a renewal under way")
		l.remote.answer = answer
		time.Sleep(time.Minute)
		l.ask(tv, "www.node.example", dns.TypeA)
		synctest.Wait()
		l.wantEDE(l.ask(tv, "www.node.example", dns.TypeA), -1)
		time.Sleep(5 * time.Minute) // the answer has ended, and the failure is forgotten
		l.wantEDE(l.ask(tv, "www.node.example", dns.TypeA), -1)
		if len(l.local.questions()) > 0 {
			t.Error("the local upstream was asked for a name of the node")
		}
	})
}

func TestAHotNameIsRenewedByItsOwnUpstreamBeforeItEnds(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		client   netip.Addr
		times    int
		renewed  bool
	}{
		{"asked for often", tv, 5, true},
		{"by a client to whom it is direct", desk, 5, true},
		{"asked for seldom", tv, 1, false},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLAN(t, nil)
				own, other := l.remote, l.local
				if tt.client == desk {
					own, other = other, own
				}
				for range tt.times {
					l.ask(tt.client, "www.node.example", dns.TypeA)
				}
				time.Sleep(280 * time.Second) // of 300
				got := l.ask(tt.client, "www.node.example", dns.TypeA)
				synctest.Wait()
				if ttl := got.Answer[0].Header().Ttl; ttl != 20 {
					t.Errorf("the answer has a TTL of %d, want the old one's, 20", ttl)
				}
				if renewed := len(own.questions()) == 2; renewed != tt.renewed {
					t.Errorf("its upstream was asked %d times; renewed: want %t", len(own.questions()), tt.renewed)
				}
				if len(other.questions()) > 0 {
					t.Errorf("the other upstream was asked")
				}
				time.Sleep(30 * time.Second)
				if got := l.ask(tt.client, "www.node.example", dns.TypeA).Answer[0].Header().Ttl; tt.renewed && got != 270 {
					t.Errorf("after the renewal the TTL is %d, want 270", got)
				}
			})
		})
	}
}

func TestARenewalIsNotRememberedOfADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		for range 5 {
			l.ask(tv, "www.node.example", dns.TypeA)
		}
		time.Sleep(280 * time.Second)
		l.remote.answer = always(localAnswer).answer
		l.ask(tv, "www.node.example", dns.TypeA)
		synctest.Wait()
		if got := l.History().NamesOf(byAddress{}.Device(tv), localAnswer); len(got) > 0 {
			t.Errorf("tv is remembered to have %s for %q, want nothing: it has the old answer", localAnswer, got)
		}
		l.ask(tv, "www.node.example", dns.TypeA)
		if got := l.History().NamesOf(byAddress{}.Device(tv), localAnswer); len(got) != 1 {
			t.Errorf("tv was given %s, want it remembered", localAnswer)
		}
	})
}
