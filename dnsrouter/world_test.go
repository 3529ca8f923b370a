package dnsrouter

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/dnsrouter/fakeip"
	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway/policy"
)

// The clients of the tests.
var (
	laptop = netip.MustParseAddr("192.168.1.10") // fakeip
	tv     = netip.MustParseAddr("192.168.1.20") // realip
	phone  = netip.MustParseAddr("192.168.1.21") // of the section tv, too
	guest  = netip.MustParseAddr("192.168.1.30") // off
	desk   = netip.MustParseAddr("192.168.1.40") // realip, and everything of it leaves directly
)

// Whom the upstreams lead to.
var (
	localAnswer  = netip.MustParseAddr("198.51.100.10")
	remoteAnswer = netip.MustParseAddr("198.51.100.20")
)

type upstreamQuestion = upstream.Question

// server is an upstream of the tests.
type server struct {
	answer func(m *dns.Msg, q upstream.Question) // fills in the reply

	mu    sync.Mutex // guards the fields below
	down  bool
	asked []upstream.Question
}

var errDown = errors.New("nobody answers")

func (s *server) Exchange(_ context.Context, q upstream.Question) ([]byte, error) {
	s.mu.Lock()
	s.asked = append(s.asked, q)
	down := s.down
	s.mu.Unlock()
	if down {
		return nil, errDown
	}
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.Name), q.Type)
	m.Response, m.RecursionAvailable = true, true
	s.answer(m, q)
	return m.Pack()
}

func (s *server) fail(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *server) questions() []upstream.Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]upstream.Question(nil), s.asked...)
}

// always answers A with an address, TXT with a text, and all else with nothing.
func always(addr netip.Addr) *server {
	return &server{answer: func(m *dns.Msg, q upstream.Question) {
		switch q.Type {
		case dns.TypeA:
			m.Answer = append(m.Answer, record(q.Name+". 300 IN A "+addr.String()))
		case dns.TypeTXT:
			m.Answer = append(m.Answer, record(q.Name+`. 300 IN TXT "seen"`))
		}
	}}
}

// says answers every question with the same records, whose owner is "@".
func says(records ...string) *server {
	return &server{answer: func(m *dns.Msg, q upstream.Question) {
		for _, r := range records {
			m.Answer = append(m.Answer, record(strings.ReplaceAll(r, "@", q.Name+".")))
		}
	}}
}

func record(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return rr
}

// homeNames are the names of the tests' network.
type homeNames map[string]netip.Addr

func (n homeNames) Host(name string) (Host, bool) {
	if addr, ok := n[name]; ok {
		return Host{Addrs: []netip.Addr{addr}}, true
	}
	return Host{}, false
}

func (n homeNames) NameOf(addr netip.Addr) (string, bool) {
	for name, a := range n {
		if a == addr {
			return name, true
		}
	}
	return "", false
}

func (homeNames) Rules() *LocalRules { return &usualRules }

var usualRules LocalRules

// byAddress identifies devices by their last octet.
type byAddress struct{}

func (byAddress) Device(a netip.Addr) policy.Device {
	octets := a.As16()
	return policy.Device{Addr: a, MAC: policy.MAC{2, 0, 0, 0, 0, octets[15]}}
}

func (b byAddress) Known(a netip.Addr) (policy.Device, bool) { return b.Device(a), true }

// lan is a Router between clients and two upstreams.
type lan struct {
	*Router
	t             testing.TB
	kernel        *sink
	pool          *fakeip.Pool
	local, remote *server
	plan          *Plan
	strangers     Strangers
}

// sink is a kernelMap whose refusals are chosen by what is asked of it.
type sink struct {
	*kernelMap
	refuseFake, refuseRemoval bool
	fakes                     []netip.Addr
	led                       map[netip.Addr]netip.Addr // fake addresses to real ones
}

func (s *sink) SetFake(fake, real netip.Addr, _ Way) error {
	if s.led == nil {
		s.led = make(map[netip.Addr]netip.Addr)
	}
	s.led[fake] = real
	return nil
}

func (s *sink) AddFake(v4, _ netip.Addr) error {
	if s.refuseFake {
		return errKernel
	}
	s.fakes = append(s.fakes, v4)
	return nil
}

func (s *sink) DelWay(group int, addr netip.Addr) error {
	if s.refuseRemoval {
		return errKernel
	}
	return s.kernelMap.DelWay(group, addr)
}

func newLAN(t testing.TB, change func(*Plan)) *lan {
	t.Helper()
	l := &lan{t: t, kernel: &sink{kernelMap: newKernelMap()}, local: always(localAnswer), remote: always(remoteAnswer)}
	l.plan = l.newPlan(household(t), change)
	pool, err := fakeip.Open(fakeip.Config{Prefix4: l.plan.Config.Fake4, Prefix6: l.plan.Config.Fake6, Keep: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	l.pool = pool
	l.Router = New(Deps{
		Pool: pool, Ways: l.kernel, Fakes: l.kernel, Devices: byAddress{}, Log: slog.New(slog.DiscardHandler),
		Local: homeNames{"nas.lan": netip.MustParseAddr("192.168.1.5"), "printer": netip.MustParseAddr("192.168.1.6")},
	}, l.plan)
	return l
}

func (l *lan) newPlan(cfg policy.Config, change func(*Plan)) *Plan {
	plan := &Plan{
		Config: Config{
			Fake4: netip.MustParsePrefix("198.18.0.0/24"), Fake6: netip.MustParsePrefix("2001:2::/120"), FakeTTL: 1,
			CacheBytes: 1 << 20, ServeStale: 24 * time.Hour, RebindProtection: true, LocalDomain: "lan", IPv6: true,
		},
		Policy: policy.New(cfg), LocalUpstream: "local",
		Upstreams: map[string]Exchanger{"local": l.local, "remote": l.remote},
	}
	for c := range plan.Policy.Clients() {
		client := policy.Client(c)
		plan.Learns = append(plan.Learns, plan.Policy.Mode(client) != policy.Off && !plan.Policy.AnyName(client).AllDirect)
	}
	if change != nil {
		change(plan)
	}
	return plan
}

// household sends direct.example out and blocked.example nowhere, and the rest
// through a node, but not for desk.
func household(t testing.TB) policy.Config {
	return policy.Config{
		Default: "node", Sniff: true, LocalUpstream: "local", RemoteUpstream: "remote",
		Outbounds: []policy.Outbound{{Name: "node", Kind: policy.Node}},
		Clients: []policy.Section{
			{Name: "tv", Prefixes: []netip.Prefix{netip.PrefixFrom(tv, 31)}, Mode: policy.RealIP},
			{Name: "guest", Prefixes: []netip.Prefix{netip.PrefixFrom(guest, 32)}, Mode: policy.Off},
			{Name: "desk", Prefixes: []netip.Prefix{netip.PrefixFrom(desk, 32)}, Mode: policy.RealIP, Outbound: "direct"},
		},
		Rules: []policy.Rule{
			{Name: "direct", Domains: patterns(t, "direct.example"), Outbound: "direct"},
			{Name: "blocked", Domains: patterns(t, "blocked.example"), Outbound: "reject"},
		},
	}
}

func patterns(t testing.TB, texts ...string) (all []policy.Pattern) {
	t.Helper()
	for _, text := range texts {
		p, err := policy.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// ask has a client ask over TCP, so that nothing is cut.
func (l *lan) ask(client netip.Addr, name string, qtype uint16) *dns.Msg {
	l.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	m.SetEdns0(1232, false)
	return l.exchange(client, m)
}

func (l *lan) exchange(client netip.Addr, m *dns.Msg) *dns.Msg {
	l.t.Helper()
	raw, err := m.Pack()
	if err != nil {
		l.t.Fatal(err)
	}
	reply, err := l.answer(l.t.Context(), &question{strangers: l.strangers}, raw, client, 65535)
	if err != nil {
		l.t.Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(reply); err != nil {
		l.t.Fatalf("the reply %x: %v", reply, err)
	}
	if got.Id != m.Id || !got.Response || len(got.Question) != 1 || got.Question[0] != m.Question[0] {
		l.t.Fatalf("the reply is to another question:\n%s", got)
	}
	return got
}

// addrs are those of the answer, each with the TTL of its record.
func addrs(m *dns.Msg) (all []string) {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			all = append(all, rr.A.String())
		case *dns.AAAA:
			all = append(all, rr.AAAA.String())
		}
	}
	return all
}

func isFake(p *Plan, text string) bool {
	a := netip.MustParseAddr(text)
	return p.Config.Fake4.Contains(a) || p.Config.Fake6.Contains(a)
}

// unasked fails if anybody was asked.
func (l *lan) unasked() {
	l.t.Helper()
	for who, s := range map[string]*server{"local": l.local, "remote": l.remote} {
		if q := s.questions(); len(q) > 0 {
			l.t.Errorf("the %s upstream was asked for %s, type %d; want nobody asked", who, q[0].Name, q[0].Type)
		}
	}
}

func (l *lan) rcode(m *dns.Msg, want int) {
	l.t.Helper()
	if m.Rcode != want {
		l.t.Errorf("%s: rcode = %s, want %s", m.Question[0].Name, dns.RcodeToString[m.Rcode], dns.RcodeToString[want])
	}
}
