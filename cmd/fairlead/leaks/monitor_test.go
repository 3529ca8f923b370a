package leaks

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway/policy"
)

func netAddrPort(p packet, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(p.Src.Addr(), port)
}

// rules are those of a home where only domestic.example leaves directly.
func rules(t testing.TB) *Rules {
	domestic, err := policy.ParsePattern("domestic.example")
	ok(t, err)
	node, wg := policy.Outbound{Name: "node", Kind: policy.Node}, policy.Outbound{Name: "wg", Kind: policy.Interface}
	return &Rules{
		Policy: policy.New(policy.Config{
			Default: "node", Outbounds: []policy.Outbound{node, wg}, LocalUpstream: "isp", RemoteUpstream: "remote",
			Rules: []policy.Rule{{Name: "domestic", Domains: []policy.Pattern{domestic}, Outbound: "direct"}},
		}),
		Local: "isp", Remote: []string{"remote"},
		Outbounds: map[string]policy.Outbound{"remote": node, "tunnel": wg},
	}
}

// newWatched is a Monitor whose daemon records into record; nil: there is none.
func newWatched(t testing.TB, r *Rules, record *Record, found func(Finding)) *Monitor {
	return NewMonitor(Config{
		Devices: func() ([]string, error) { return []string{"wan"}, nil },
		Rules:   func() *Rules { return r },
		Record: func(since uint64) ([]Asked, uint64, error) {
			if record == nil {
				return nil, 0, errors.New("no daemon")
			}
			entries, next := record.Since(since)
			return entries, next, nil
		},
		Who:   func(uint8, netip.AddrPort, netip.AddrPort) Sender { return Sender{Router: true} },
		Found: found,
	})
}

func TestWhatTheDaemonRecordsIsJudged(t *testing.T) {
	from, server := netip.MustParseAddrPort("203.0.113.2:40000"), netip.MustParseAddrPort("203.0.113.53:53")
	plain := func(name, up string) upstream.Sent {
		return upstream.Sent{Upstream: up, Server: "udp://" + server.String(), Scheme: "udp", Network: "udp", Name: name, Local: from, Remote: server}
	}
	over := func(scheme, name, up string) upstream.Sent {
		return upstream.Sent{Upstream: up, Server: scheme + "://dns.example", Scheme: scheme, Name: name}
	}
	bootstrap := plain("node.example", "remote")
	bootstrap.Bootstrap = true
	for _, tt := range []struct {
		sentence string
		sent     upstream.Sent
		direct   bool // as the daemon says when it is about to ask
		captured string
		want     Way
	}{
		{"a direct name of the local upstream", plain("a.domestic.example", "isp"), true, "a.domestic.example", Direct},
		{"a direct name for one client only", plain("a.foreign.example", "isp"), true, "a.foreign.example", Direct},
		{"another name of the local upstream", plain("a.foreign.example", "isp"), false, "a.foreign.example", Leak},
		{"the name of a node", bootstrap, false, "node.example", Direct},
		{"by an interface", plain("a.foreign.example", "tunnel"), false, "a.foreign.example", Node},
		{"inside the node's connection", over("tls", "a.foreign.example", "remote"), false, "", Node},
		{"encrypted", over("https", "a.foreign.example", "auto"), false, "", Encrypted},
		{"encrypted, of the local upstream", over("https", "a.domestic.example", "isp"), true, "", Encrypted},
		{"another name of it, encrypted", over("h3", "a.foreign.example", "isp"), false, "", Leak},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			var record Record
			var found []Finding
			m := newWatched(t, rules(t), &record, func(f Finding) { found = append(found, f) })
			m.read(time.Now())
			record.Asking(tt.sent.Upstream, tt.sent.Name, tt.direct)
			record.Sent(tt.sent)
			if tt.captured != "" {
				m.take(ipv4(UDP, 5, 0, udp(53, asked(tt.captured))), time.Now())
			}
			m.look(time.Now())
			if len(found) != 1 || found[0].Way != tt.want || found[0].Name != tt.sent.Name {
				t.Errorf("found %v, want one %s of %s", found, tt.want, tt.sent.Name)
			}
		})
	}
}

func TestAQuestionThatDoesNotPassIsUnseen(t *testing.T) {
	var record Record
	m := newWatched(t, rules(t), &record, nil)
	began := time.Now()
	m.read(began)
	for _, port := range []uint16{40000, 40001} {
		record.Sent(upstream.Sent{
			Upstream: "isp", Server: "udp://203.0.113.53", Scheme: "udp", Network: "udp", Name: "a.domestic.example",
			Local: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.2"), port), Remote: netip.MustParseAddrPort("203.0.113.53:53"),
		})
	}
	m.take(ipv4(UDP, 5, 0, udp(53, asked("a.domestic.example"))), began)
	m.look(began)
	m.look(began.Add(2 * memory))
	if got := m.Report().Unseen; got != 1 {
		t.Errorf("%d questions are unseen, want the one that was not captured", got)
	}
	if len(m.judge.ours)+len(m.judge.asking) > 0 {
		t.Error("what is older than it is of use is remembered")
	}
}

func TestAFloodOfNamesIsNotRemembered(t *testing.T) {
	m := newWatched(t, rules(t), nil, nil)
	m.judge.rules = rules(t)
	for n := range 2 * maxAsking {
		m.judge.learn(Asked{Upstream: "isp", Name: fmt.Sprintf("%d.example", n), Direct: true}, time.Now())
	}
	if got := len(m.judge.asking); got != maxAsking {
		t.Errorf("%d names are remembered, want %d at most", got, maxAsking)
	}
}

func TestDevicesAreFollowed(t *testing.T) {
	router, _ := newPair(t)
	devices := []string{}
	m := newWatched(t, rules(t), nil, nil)
	m.cfg.Devices = func() ([]string, error) { return devices, nil }
	defer m.closeAll()
	follow := func(want ...string) {
		t.Helper()
		ok(t, router.Do(m.follow))
		if got := m.Report().Devices; !slices.Equal(got, want) {
			t.Errorf("watched are %v, want %v", got, want)
		}
	}
	m.read(time.Now())
	follow()
	devices = []string{"wan", "not-there-yet"}
	follow("wan")
	inject(t, router, "wan", ipv4(UDP, 5, 0, udp(53, asked("www.foreign.example"))))
	m.look(time.Now())
	if r := m.Report(); r.Counts.Leak != 1 || len(r.Leaks) != 1 || r.Leaks[0].Name != "www.foreign.example" {
		t.Errorf("the report is %+v, want the leak", r)
	}
	m.judge.rules.Plain = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.53:5300")} // another filter
	follow("wan")
	inject(t, router, "wan", ipv4(UDP, 5, 0, udp(5300, asked("www.foreign.example"))))
	m.look(time.Now())
	if got := m.Report().Counts.Leak; got != 2 {
		t.Errorf("%d leaks, want that at another port, too", got)
	}
	devices = nil
	follow()
}

func TestARecordCostsNothingWhileNobodyReadsIt(t *testing.T) {
	var r Record
	if r.Listening() {
		t.Error("it listens, want that nobody wants it to")
	}
	r.Sent(upstream.Sent{Name: "a.example"})
	if r.ring != nil {
		t.Error("it has memory for entries that nobody reads")
	}
	if _, next := r.Since(0); next != 0 || !r.Listening() {
		t.Errorf("it goes on from %d and listens: %t, want from 0", next, r.Listening())
	}
	for range recordLength + 10 {
		r.Asking("isp", "a.example", true)
	}
	entries, next := r.Since(0)
	if len(entries) != recordLength || next != recordLength+10 {
		t.Errorf("%d entries up to %d, want the last %d", len(entries), next, recordLength)
	}
	if entries, _ = r.Since(next); len(entries) > 0 {
		t.Errorf("%d entries came twice", len(entries))
	}
	r.rest()
	if r.Listening() || r.ring != nil {
		t.Error("it goes on though nobody reads it any more")
	}
}

func TestTheReportHasTheLastHundredLeaks(t *testing.T) {
	var r Report
	for i := range 250 {
		r.add(Finding{Way: Leak, Type: uint16(i)})
	}
	if len(r.Leaks) != kept || r.Leaks[kept-1].Type != TypeName(249) || r.Counts.Leak != 250 {
		t.Errorf("%d leaks of %d, the last of type %s; want the last %d", len(r.Leaks), r.Counts.Leak, r.Leaks[len(r.Leaks)-1].Type, kept)
	}
}

// BenchmarkThousandQuestions is what a second of a thousand questions costs the
// watcher: reading them from the kernel, and judging each by the record.
func BenchmarkThousandQuestions(b *testing.B) {
	router, _ := newPair(b)
	var record Record
	m := newWatched(b, rules(b), &record, nil)
	m.read(time.Now())
	ok(b, router.Do(m.follow))
	defer m.closeAll()
	packet := ipv4(UDP, 5, 0, udp(53, asked("www.domestic.example")))
	var quarter [][]byte // as many as gather between two looks
	for range 250 {
		quarter = append(quarter, packet)
	}
	sent := upstream.Sent{Upstream: "isp", Server: "udp://203.0.113.53", Scheme: "udp", Network: "udp", Name: "www.domestic.example",
		Local: netip.MustParseAddrPort("203.0.113.2:40000"), Remote: netip.MustParseAddrPort("203.0.113.53:53")}
	for b.Loop() {
		for range 4 {
			b.StopTimer()
			inject(b, router, "wan", quarter...)
			b.StartTimer()
			for range quarter {
				record.Asking("isp", "www.domestic.example", true)
				record.Sent(sent)
			}
			m.look(time.Now())
		}
	}
	if r := m.Report(); r.Counts.Direct != int64(b.N)*1000 || r.Lost > 0 {
		b.Errorf("%d of %d questions were seen, %d were lost", r.Counts.Direct, b.N*1000, r.Lost)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Second)*100, "%CPU")
}
