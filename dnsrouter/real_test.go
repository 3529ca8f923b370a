package dnsrouter

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestACachedAnswerGrowsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		l.ask(tv, "www.node.example", dns.TypeA)
		time.Sleep(100 * time.Second)
		got := l.ask(tv, "WWW.node.example", dns.TypeA)
		if len(got.Answer) != 1 || got.Answer[0].Header().Ttl != 200 {
			t.Errorf("after 100s of 300 the answer is %v, want a TTL of 200", got.Answer)
		}
		if n := len(l.remote.questions()); n != 1 {
			t.Errorf("the upstream was asked %d times, want once", n)
		}
		time.Sleep(201 * time.Second)
		l.ask(tv, "www.node.example", dns.TypeA)
		if n := len(l.remote.questions()); n != 2 {
			t.Errorf("the upstream was asked %d times after the answer ended, want twice", n)
		}
	})
}

func TestAnAnswerIsNotGivenToAnotherView(t *testing.T) {
	l := newLAN(t, nil)
	for range 2 {
		for client, want := range map[netip.Addr]netip.Addr{tv: remoteAnswer, desk: localAnswer, guest: localAnswer} {
			if got := addrs(l.ask(client, "www.node.example", dns.TypeA)); !slices.Equal(got, []string{want.String()}) {
				t.Errorf("%s was told %v, want %s", client, got, want)
			}
		}
	}
	l.ask(phone, "www.node.example", dns.TypeA)
	if local, remote := len(l.local.questions()), len(l.remote.questions()); local != 2 || remote != 1 {
		t.Errorf("asked locally %d times, remotely %d; want once for each view: 2 and 1", local, remote)
	}
}

func TestWhatAClientWantsOfDNSSECIsAnsweredApart(t *testing.T) {
	l := newLAN(t, nil)
	for range 2 {
		for _, do := range []bool{false, true} {
			m := new(dns.Msg)
			m.SetQuestion("www.node.example.", dns.TypeA)
			m.SetEdns0(1232, do)
			l.exchange(tv, m)
		}
	}
	asked := l.remote.questions()
	if len(asked) != 2 || asked[0].DO || !asked[1].DO {
		t.Errorf("asked %+v, want once without DO and once with it", asked)
	}
}

func TestAFailedUpstreamIsNotReplacedByAnother(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.fail(true)
	l.rcode(l.ask(tv, "www.node.example", dns.TypeA), dns.RcodeServerFailure)
	l.rcode(l.ask(laptop, "www.node.example", dns.TypeTXT), dns.RcodeServerFailure)
	l.local.fail(true)
	l.rcode(l.ask(tv, "www.direct.example", dns.TypeA), dns.RcodeServerFailure)
	if local, remote := len(l.local.questions()), len(l.remote.questions()); local != 1 || remote != 2 {
		t.Errorf("asked locally %d times, remotely %d; want 1 and 2", local, remote)
	}
}

func TestAFailedUpstreamsOldAnswersAreGivenForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		l.ask(tv, "www.node.example", dns.TypeA)
		l.remote.fail(true)
		time.Sleep(23 * time.Hour)
		got := l.ask(tv, "www.node.example", dns.TypeA)
		if len(got.Answer) != 1 || got.Answer[0].Header().Ttl != 30 {
			t.Errorf("answer = %v, want the old one with the TTL 30 of RFC 8767", got.Answer)
		}
		time.Sleep(2 * time.Hour)
		l.rcode(l.ask(tv, "www.node.example", dns.TypeA), dns.RcodeServerFailure)
		if len(l.local.questions()) > 0 {
			t.Error("the local upstream was asked for a name of the node")
		}
	})
}

func TestAnOldAnswerIsLearnedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, nil)
		shared := l.remote.answer
		l.local.answer = shared // a CDN: one address for both names
		l.ask(tv, "www.node.example", dns.TypeA)
		l.remote.fail(true)
		time.Sleep(time.Hour) // the name is no longer live
		l.learned.sweep(time.Now())
		l.ask(tv, "www.node.example", dns.TypeA) // now it is, by an old answer
		l.ask(tv, "www.direct.example", dns.TypeA)
		if l.kernel.has(place{1, remoteAnswer}) {
			t.Errorf("%s is direct, though tv was just told that it is www.node.example", remoteAnswer)
		}
	})
}

func TestACachedAnswerIsRememberedOfWhoeverIsGivenIt(t *testing.T) {
	l := newLAN(t, nil)
	for _, client := range []netip.Addr{tv, phone} { // of one view
		l.ask(client, "www.node.example", dns.TypeA)
		got := l.History().NamesOf(byAddress{}.Device(client), remoteAnswer)
		if !slices.Equal(got, []string{"www.node.example"}) {
			t.Errorf("the names that %s was given %s for are %q, want www.node.example", client, remoteAnswer, got)
		}
	}
}

func TestAnAnswerOfBeforeAReloadIsNotKeptForAfter(t *testing.T) {
	l := newLAN(t, nil)
	cfg := household(t)
	cfg.Rules = nil // direct.example goes to the node now
	next := l.newPlan(cfg, nil)
	answer := l.local.answer
	l.local.answer = func(m *dns.Msg, q upstreamQuestion) {
		answer(m, q)
		if err := l.SetPlan(next); err != nil {
			t.Error(err)
		}
	}
	l.ask(tv, "www.direct.example", dns.TypeA)
	if got := addrs(l.ask(tv, "www.direct.example", dns.TypeA)); !slices.Equal(got, []string{remoteAnswer.String()}) {
		t.Errorf("after the reload tv was told %v, want %s of the upstream that may be asked now", got, remoteAnswer)
	}
}

func TestThePoolExhaustedMeansARealAnswer(t *testing.T) {
	l := newLAN(t, nil)
	for l.pool.Stats().Exhausted == 0 {
		l.pool.Assign(time.Now().String())
	}
	before := l.pool.Stats().Exhausted
	if got := addrs(l.ask(laptop, "www.node.example", dns.TypeA)); !slices.Equal(got, []string{remoteAnswer.String()}) {
		t.Errorf("addresses = %v, want the remote upstream's", got)
	}
	if got := l.pool.Stats().Exhausted; got != before+1 {
		t.Errorf("the pool counts %d exhausted questions, want %d", got, before+1)
	}
	if len(l.local.questions()) > 0 {
		t.Error("the local upstream was asked for a name of the node")
	}
}

func TestNoFakeAnswerLeavesBeforeTheKernelKnowsIt(t *testing.T) {
	l := newLAN(t, nil)
	l.kernel.refuseFake = true
	for range 2 {
		l.rcode(l.ask(laptop, "www.node.example", dns.TypeA), dns.RcodeServerFailure)
	}
	l.kernel.refuseFake = false
	l.rcode(l.ask(laptop, "www.node.example", dns.TypeA), dns.RcodeSuccess)
	l.rcode(l.ask(laptop, "www.node.example", dns.TypeAAAA), dns.RcodeSuccess)
	if len(l.kernel.fakes) != 1 {
		t.Errorf("the kernel was told of %v, want it told once", l.kernel.fakes)
	}
}

func TestNoAnswerLeavesWhileItsAddressIsStillDirect(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.answer = l.local.answer // one address for both names
	l.ask(tv, "www.direct.example", dns.TypeA)
	if !l.kernel.has(place{1, localAnswer}) {
		t.Fatalf("%s is not direct after the answer for a direct name", localAnswer)
	}
	l.kernel.refuseRemoval = true
	for range 2 { // and it is not kept
		l.rcode(l.ask(tv, "www.node.example", dns.TypeA), dns.RcodeServerFailure)
	}
	l.kernel.refuseRemoval = false
	l.rcode(l.ask(tv, "www.node.example", dns.TypeA), dns.RcodeSuccess)
	if l.kernel.has(place{1, localAnswer}) {
		t.Errorf("%s is direct, though it is www.node.example too", localAnswer)
	}
}

func TestADirectAddressThatTheKernelRefusesIsAnsweredAllTheSame(t *testing.T) {
	l := newLAN(t, nil)
	l.kernel.fails = func() bool { return true }
	l.rcode(l.ask(tv, "www.direct.example", dns.TypeA), dns.RcodeSuccess)
}

func TestAnswersForNamesLeadNowherePrivate(t *testing.T) {
	for _, tt := range []struct {
		sentence, name string
		records        []string
		want           []string
	}{
		{"private addresses go", "a.direct.example", []string{"@ 60 IN A 192.168.1.1", "@ 60 IN A 127.0.0.1", "@ 60 IN A 203.0.113.9"}, []string{"203.0.113.9"}},
		{"also if nothing is left", "a.direct.example", []string{"@ 60 IN A 10.0.0.1"}, nil},
		{"and those of IPv6", "a.direct.example", []string{"@ 60 IN AAAA fd00::1", "@ 60 IN AAAA ::ffff:10.0.0.1", "@ 60 IN AAAA 2001:db8::9"}, []string{"2001:db8::9"}},
		{"but of a domain that may have them", "a.corp.direct.example", []string{"@ 60 IN A 10.0.0.1"}, []string{"10.0.0.1"}},
		{"fake ones are never true", "a.corp.direct.example", []string{"@ 60 IN A 198.18.0.7"}, nil},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := newLAN(t, func(p *Plan) { p.Config.RebindDomains = patterns(t, "corp.direct.example") })
			l.local.answer = says(tt.records...).answer
			qtype := record(tt.records[0]).Header().Rrtype
			got := l.ask(tv, tt.name, qtype)
			if !slices.Equal(addrs(got), tt.want) {
				t.Errorf("addresses = %v, want %v", addrs(got), tt.want)
			}
		})
	}
}

func TestAServiceRecordLosesWhatCouldLeadAround(t *testing.T) {
	const full = `@ 60 IN HTTPS 1 . alpn="h2" ipv4hint="203.0.113.9" ech="AEX+DQBBpQ==" ipv6hint="2001:db8::9"`
	const other = `@ 60 IN HTTPS 2 other.example. alpn="h2"`
	for _, tt := range []struct {
		sentence, name string
		ech            bool
		records        int
	}{
		{"a name that must be sniffed", "www.node.example", false, 1},
		{"a direct name may hide, and be at another host", "www.direct.example", true, 2},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := newLAN(t, nil)
			l.local.answer, l.remote.answer = says(full, other).answer, says(full, other).answer
			got := l.ask(tv, tt.name, dns.TypeHTTPS)
			if len(got.Answer) != tt.records {
				t.Fatalf("answer = %v, want %d records", got.Answer, tt.records)
			}
			left := map[dns.SVCBKey]bool{}
			for _, p := range got.Answer[0].(*dns.HTTPS).Value {
				left[p.Key()] = true
			}
			if !left[dns.SVCB_ALPN] || left[dns.SVCB_IPV4HINT] || left[dns.SVCB_IPV6HINT] || left[dns.SVCB_ECHCONFIG] != tt.ech {
				t.Errorf("parameters left: %v, want alpn, no hints, ech: %t", left, tt.ech)
			}
		})
	}
}

func TestWhatAClientIsToldThatIsOffChangesNothing(t *testing.T) {
	l := newLAN(t, nil)
	l.ask(guest, "www.direct.example", dns.TypeA)
	if len(l.kernel.until) > 0 {
		t.Errorf("the kernel was told of %v", l.kernel.until)
	}
	for range 2 { // from the upstream, and from the cache
		l.ask(guest, "www.node.example", dns.TypeA)
	}
	if got := l.History().NamesOf(byAddress{}.Device(guest), localAnswer); len(got) > 0 {
		t.Errorf("its flows are not diverted, and yet %q are remembered of it", got)
	}
	l.ask(tv, "www.direct.example", dns.TypeA)
	if !l.kernel.has(place{1, localAnswer}) {
		t.Errorf("%s is not direct for others, because of what a client was told that is off", localAnswer)
	}
}

func TestAnUpstreamThatIsNotRunningIsAFailure(t *testing.T) {
	l := newLAN(t, func(p *Plan) { delete(p.Upstreams, "remote") })
	l.rcode(l.ask(tv, "www.node.example", dns.TypeA), dns.RcodeServerFailure)
	l.unasked()
}

func TestAFlowsNameIsResolvedWithoutLearningIt(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.answer = says("@ 60 IN A 203.0.113.9", "@ 60 IN AAAA 2001:db8::9").answer
	got, err := l.Resolve(t.Context(), "remote", "www.node.example")
	if want := []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Resolve = %v, %v, want %v", got, err, want)
	}
	if len(l.kernel.until) > 0 || len(l.local.questions()) > 0 {
		t.Errorf("the kernel was told of %v, the local upstream asked %d times; want neither", l.kernel.until, len(l.local.questions()))
	}
	l.remote.fail(true)
	if got, err := l.Resolve(t.Context(), "remote", "www.node.example"); err == nil {
		t.Errorf("Resolve = %v by a dead upstream, want an error", got)
	}
}

func TestAnAnswerThatNeedsNobodyAllocatesNothing(t *testing.T) {
	l := newLAN(t, nil)
	for _, tt := range []struct {
		what   string
		client netip.Addr
		name   string
		qtype  uint16
	}{
		{"cached", tv, "www.node.example.", dns.TypeA},
		{"fake", laptop, "www.node.example.", dns.TypeA},
		{"withheld", laptop, "www.node.example.", dns.TypeHTTPS},
		{"rejected", laptop, "www.blocked.example.", dns.TypeA},
		{"special", laptop, "localhost.", dns.TypeA},
		{"local", laptop, "5.1.168.192.in-addr.arpa.", dns.TypePTR},
	} {
		m := new(dns.Msg)
		m.SetQuestion(tt.name, tt.qtype)
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		l.exchange(tt.client, m)
		q := new(question)
		got := testing.AllocsPerRun(100, func() {
			if reply, err := l.answer(t.Context(), q, raw, tt.client, 0); err != nil || len(reply) == 0 {
				t.Fatal(reply, err)
			}
		})
		if got > 0 {
			t.Errorf("%v allocations for an answer that is %s, want none", got, tt.what)
		}
	}
}
