package dnsrouter

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/gateway/policy"
)

// A rule with resolve sends a name one way by any of its addresses. One whose
// IPv6 address is listed must not have its IPv4 address forwarded directly.
func TestARuleThatResolvesComparesBothFamilies(t *testing.T) {
	for _, tt := range []struct {
		listed string
		direct bool
	}{{"2001:db8:66::/64", false}, {"2001:db8:77::/64", true}} {
		t.Run(tt.listed, func(t *testing.T) {
			l := newLAN(t, func(p *Plan) {
				cfg := household(t)
				cfg.Rules = []policy.Rule{{
					Name: "listed", Prefixes: []netip.Prefix{netip.MustParsePrefix(tt.listed)}, Outbound: "node", Resolve: true,
				}}
				p.Policy = policy.New(cfg)
				p.Learns = []bool{true, true, false, true}
			})
			l.remote.answer = func(m *dns.Msg, q upstreamQuestion) {
				switch q.Type {
				case dns.TypeA:
					m.Answer = append(m.Answer, record(q.Name+". 300 IN A 198.51.100.20"))
				case dns.TypeAAAA:
					m.Answer = append(m.Answer, record(q.Name+". 300 IN AAAA 2001:db8:66::1"))
				}
			}
			l.ask(desk, "www.open.example", dns.TypeA)
			group := l.plan.Policy.Client(policy.Device{Addr: desk})
			if got := l.kernel.has(place{int(group), netip.MustParseAddr("198.51.100.20")}); got != tt.direct {
				t.Errorf("the IPv4 address is forwarded directly: %v, want %v", got, tt.direct)
			}
		})
	}
}

// withInterface has wg.example leave through an interface.
func withInterface(t *testing.T, p *Plan) {
	cfg := household(t)
	cfg.Outbounds = append(cfg.Outbounds, policy.Outbound{Name: "wg", Kind: policy.Interface})
	cfg.Rules = append(cfg.Rules, policy.Rule{Name: "wg", Domains: patterns(t, "wg.example"), Outbound: "wg"})
	p.Policy = policy.New(cfg)
	p.Learns = []bool{true, true, false, true}
	p.Interfaces = map[string]Way{"wg": 3}
}

// A name that leaves through an interface is led there by the kernel, to one and
// the same real address for as long as that is among the answers.
func TestAFakeAddressIsLedToARealOneOfItsInterface(t *testing.T) {
	l := newLAN(t, func(p *Plan) { withInterface(t, p) })
	answers := "198.51.100.20"
	l.remote.answer = func(m *dns.Msg, q upstreamQuestion) {
		if q.Type == dns.TypeA {
			m.Answer = append(m.Answer, record(q.Name+". 300 IN A "+answers))
		}
	}
	fake := netip.MustParseAddr(addrs(l.ask(laptop, "www.wg.example", dns.TypeA))[0])
	if got := l.kernel.led[fake]; got != netip.MustParseAddr("198.51.100.20") {
		t.Errorf("the kernel leads %s to %s, want 198.51.100.20", fake, got)
	}
	if got := addrs(l.ask(laptop, "www.wg.example", dns.TypeAAAA)); len(got) != 0 {
		t.Errorf("AAAA of a name without one is answered %v", got)
	}
	if got := len(l.remote.questions()); got != 2 {
		t.Errorf("the remote upstream was asked %d questions, want one for each type", got)
	}
	if got := len(l.local.questions()); got != 0 {
		t.Errorf("the local upstream was asked %d questions", got)
	}
	if err := l.SetPlan(l.newPlan(household(t), nil)); err != nil {
		t.Fatal(err)
	}
	if got := l.kernel.led[fake]; got.IsValid() {
		t.Errorf("after the outbound went, the kernel leads %s to %s", fake, got)
	}
}

// A reload judges what the kernel leads; what an older question finds out then
// comes too late.
func TestAFakeAddressIsNotLedByAPlanThatIsOver(t *testing.T) {
	l := newLAN(t, func(p *Plan) { withInterface(t, p) })
	answer := l.remote.answer
	l.remote.answer = func(m *dns.Msg, q upstreamQuestion) {
		if err := l.SetPlan(l.newPlan(household(t), nil)); err != nil {
			t.Error(err)
		}
		answer(m, q)
	}
	q := &question{msg: packed(t, 7, "www.wg.example.", dns.TypeA)}
	reply, err := l.goOn(t.Context(), q, laptop, 65535)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Fatal(err)
	}
	if got := addrs(m); len(got) != 1 || !isFake(l.plan, got[0]) {
		t.Errorf("the answer is %v, want the name's fake address", got)
	}
	for fake, real := range l.kernel.led {
		t.Errorf("the kernel leads %s to %s, want it left to the daemon", fake, real)
	}
}
