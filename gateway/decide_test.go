package gateway

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/sniff"
)

const client = "127.0.0.1:40000"

// flowTo identifies a TCP flow to port 443 of an address.
func (w *world) flowTo(t *testing.T, addr netip.Addr) flow {
	t.Helper()
	f, err := w.identify(w.plan.Policy, netip.MustParseAddrPort(client), netip.AddrPortFrom(addr, 443), policy.TCP)
	ok(t, err)
	t.Cleanup(func() { w.release(&f) })
	return f
}

// TestNameThatAFlowIsTakenToBeFor shows the name that decides, and the one
// that is dialled, of a flow whose names all leave through the node.
func TestNameThatAFlowIsTakenToBeFor(t *testing.T) {
	tls := func(host string, ech bool) sniff.Result {
		return sniff.Result{Protocol: policy.TLS, Host: host, ECH: ech}
	}
	tests := map[string]struct {
		addr    netip.Addr
		given   []string // for addr, by DNS
		heard   sniff.Result
		decides string
		dialled string
	}{
		"a fake name is believed against the hello":        {fakeAddr, nil, tls("other.example", false), "www.example.com", "www.example.com"},
		"a name that DNS did not prove never re-targets":   {literal, nil, tls("www.k3b6xq.com", false), "www.k3b6xq.com", ""},
		"nor one that DNS told of another name":            {literal, []string{"a.example"}, tls("b.example", false), "b.example", ""},
		"a proven name is dialled":                         {literal, []string{"b.example", "a.example"}, tls("a.example", false), "a.example", "a.example"},
		"GREASE hides nothing":                             {literal, nil, tls("a.example", true), "a.example", ""},
		"behind a provider's public name history decides":  {literal, []string{"a.example"}, tls("cloudflare-ech.com", true), "a.example", "a.example"},
		"a public name without history says nothing":       {literal, nil, tls("cloudflare-ech.com", true), "", ""},
		"a public name that was asked for is itself":       {literal, []string{"a.example", "cloudflare-ech.com"}, tls("cloudflare-ech.com", true), "cloudflare-ech.com", "cloudflare-ech.com"},
		"a public name without ECH is itself":              {literal, []string{"a.example"}, tls("cloudflare-ech.com", false), "cloudflare-ech.com", ""},
		"a hello without a name is for what DNS told last": {literal, []string{"b.example", "a.example"}, tls("", false), "b.example", "b.example"},
		"silence too":                      {literal, []string{"a.example"}, sniff.Result{}, "a.example", "a.example"},
		"without history there is no name": {literal, nil, sniff.Result{}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(Limits{}, addrRule("127.9.0.0/16", "node"), nameRule("www.example.com", "node"))
			w.history.of[tt.addr] = tt.given
			f := w.flowTo(t, tt.addr)
			w.learn(w.plan.Policy, &f, tt.heard)
			v := w.plan.Policy.Decide(f.facts)
			host, to := w.target(&f, v)
			if f.facts.Host != tt.decides || host != tt.dialled {
				t.Errorf("decided by %q and dialled %q, want %q and %q", f.facts.Host, host, tt.decides, tt.dialled)
			}
			if f.facts.Protocol != tt.heard.Protocol || to.Port() != 443 || to.Addr().IsValid() && to.Addr() != tt.addr {
				t.Errorf("got protocol %s to %s, want %s to %s:443", f.facts.Protocol, to, tt.heard.Protocol, tt.addr)
			}
		})
	}
}

func TestDirectFlowKeepsTheAddressThatItsClientChose(t *testing.T) {
	w := newWorld(Limits{})
	w.history.of[literal] = []string{"a.example"}
	f := w.flowTo(t, literal)
	w.learn(w.plan.Policy, &f, sniff.Result{Protocol: policy.TLS, Host: "a.example"})
	host, to := w.target(&f, w.plan.Policy.Decide(f.facts))
	if host != "" || to.Addr() != literal {
		t.Errorf("target is %q at %s, want no name at %s", host, to, literal)
	}
}

func TestWithoutSniffingDNSToldTheName(t *testing.T) {
	for name, tt := range map[string]struct {
		sniff bool
		want  string
	}{
		"sniffing is off": {false, "a.example"},
		"sniffing is on":  {true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(Limits{}, nameRule("a.example", "node"))
			w.plan.Sniff = tt.sniff
			w.history.of[literal] = []string{"a.example"}
			f := w.flowTo(t, literal)
			w.recall(w.plan, &f)
			if f.facts.Host != tt.want {
				t.Errorf("before a byte is read the flow is to %q, want %q", f.facts.Host, tt.want)
			}
		})
	}
}

func TestNamesThatDisagreeAreNoName(t *testing.T) {
	resolving := addrRule("203.0.113.0/24", "node")
	resolving.Resolve = true
	tests := map[string]struct {
		rule  policy.Rule
		given []string
		want  string
	}{
		"two ways":               {nameRule("a.example", "node"), []string{"a.example", "b.example"}, ""},
		"the odd one last":       {nameRule("a.example", "node"), []string{"b.example", "c.example", "a.example"}, ""},
		"one way":                {nameRule("example", "node"), []string{"a.example", "b.example"}, "a.example"},
		"ways not known yet":     {resolving, []string{"a.example", "b.example"}, ""},
		"one way, not known yet": {resolving, []string{"a.example"}, "a.example"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(Limits{}, tt.rule)
			f := w.flowTo(t, literal)
			if got := w.agreed(w.plan.Policy, &f, tt.given); got != tt.want {
				t.Errorf("agreed(%q) = %q, want %q", tt.given, got, tt.want)
			}
		})
	}
}

func TestRuleThatResolvesAsksOnceAndComparesTheAddresses(t *testing.T) {
	rule := addrRule("203.0.113.0/24", "node")
	rule.Resolve = true
	tests := map[string]struct {
		addrs []netip.Addr
		want  string
	}{
		"in the prefix":      {[]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("203.0.113.7")}, "node"},
		"outside the prefix": {[]netip.Addr{netip.MustParseAddr("192.0.2.1")}, "direct"},
		"no address at all":  {nil, "direct"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(Limits{}, rule)
			w.resolver.addrs = tt.addrs
			f := w.flowTo(t, fakeAddr)
			for range 2 {
				v, err := w.decide(context.Background(), w.plan.Policy, &f)
				if err != nil || v.Outbound != tt.want {
					t.Errorf("decided %q and error %v, want %q", v.Outbound, err, tt.want)
				}
			}
			if want := []string{"remote www.example.com"}; !reflect.DeepEqual(w.resolver.asked, want) {
				t.Errorf("asked %q, want %q", w.resolver.asked, want)
			}
		})
	}
}

func TestRuleThatCannotResolveRefuses(t *testing.T) {
	rule := addrRule("203.0.113.0/24", "node")
	rule.Resolve = true
	w := newWorld(Limits{}, rule)
	w.resolver.err = errors.New("SERVFAIL")
	tw := serveTCP(t, w)
	c := tw.connect(fakeAddr)
	_, err := c.Write([]byte{0})
	ok(t, err)
	ends(t, "the client", c, syscall.ECONNRESET)
	none(t, "a dial", w.direct.dials)
	f := w.flowTo(t, fakeAddr)
	_, err = w.decide(context.Background(), w.plan.Policy, &f)
	if err == nil || !strings.Contains(err.Error(), "www.example.com") || !errors.Is(err, w.resolver.err) {
		t.Errorf("decide = %v, want an error with the name and the cause", err)
	}
}

func TestNothingIsSniffedThatCannotChangeTheWay(t *testing.T) {
	byName := nameRule("www.example.com", "node")
	ssh := policy.Rule{Name: "ssh", Protocols: 1 << policy.SSH, Outbound: "node"}
	tests := map[string]struct {
		addr  netip.Addr
		rules []policy.Rule
		sniff bool
		want  bool
	}{
		"a literal address and a rule for a name":        {literal, []policy.Rule{byName}, true, true},
		"sniffing is off":                                {literal, []policy.Rule{byName}, false, false},
		"a fake address and rules for names":             {fakeAddr, []policy.Rule{byName}, true, false},
		"a fake address and a rule for a protocol":       {otherFake, []policy.Rule{ssh}, true, true},
		"a rule for the address comes before":            {literal, []policy.Rule{addrRule("127.9.0.0/16", "direct"), byName}, true, false},
		"the name's rule says what would be done anyway": {literal, []policy.Rule{nameRule("www.example.com", "direct")}, true, false},
		"no rules": {literal, nil, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(Limits{}, tt.rules...)
			w.plan.Sniff = tt.sniff
			f := w.flowTo(t, tt.addr)
			if got := telling(w.plan, &f); got != tt.want {
				t.Errorf("telling = %v, want %v", got, tt.want)
			}
		})
	}
}
