package dnsrouter

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// dnsmasq is a Neighbour of the tests.
type dnsmasq struct {
	*server
	gone bool
}

func (d *dnsmasq) Here() bool { return !d.gone }

// knows are names with rules of their own.
type knows struct {
	hosts map[string]Host
	rules LocalRules
}

func (k *knows) Host(name string) (Host, bool) {
	h, ok := k.hosts[name]
	return h, ok
}

func (k *knows) NameOf(netip.Addr) (string, bool) { return "", false }

func (k *knows) Rules() *LocalRules { return &k.rules }

// newNeighbours is a LAN whose router has a dnsmasq that knows every name.
func newNeighbours(t *testing.T, rules LocalRules) (*lan, *dnsmasq) {
	d := &dnsmasq{server: always(netip.MustParseAddr("192.168.1.77"))}
	l := newLAN(t, func(p *Plan) { p.Neighbour = d })
	l.deps.Local = &knows{rules: rules}
	return l, d
}

func TestTheNeighbourIsAskedOnlyForWhatItKeepsToItself(t *testing.T) {
	rules := LocalRules{Domains: []string{"house"}, KeepsPlain: true, KeepsReverse: true}
	for _, tt := range []struct {
		sentence, name string
		qtype          uint16
		rules          LocalRules
		asked          bool
	}{
		{"a name of a domain of its own", "nas.house", dns.TypeA, rules, true},
		{"whatever is asked of it", "nas.house", dns.TypeTXT, rules, true},
		{"a name without a dot", "nas", dns.TypeA, rules, true},
		{"a private address", "7.1.168.192.in-addr.arpa", dns.TypePTR, rules, true},
		{"not a name of our local domain that it would send on", "nas.lan", dns.TypeA, rules, false},
		{"not a special name", "nas.onion", dns.TypeA, rules, false},
		{"not a fake address", "7.0.18.198.in-addr.arpa", dns.TypePTR, rules, false},
		{"not a name without a dot that it would send on", "nas", dns.TypeA, LocalRules{}, false},
		{"nor other types of one, which it does send on", "nas", dns.TypeHTTPS, rules, false},
		{"not a private address that it would send on", "7.1.168.192.in-addr.arpa", dns.TypePTR, LocalRules{}, false},
		{"nor other types of one, which it does send on", "7.1.168.192.in-addr.arpa", dns.TypeTXT, rules, false},
		{"nor names below one", "lb._dns-sd._udp.0.1.168.192.in-addr.arpa", dns.TypePTR, rules, false},
		{"nor a network", "168.192.in-addr.arpa", dns.TypePTR, rules, false},
		{"nor a shared address", "1.1.64.100.in-addr.arpa", dns.TypePTR, rules, false},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l, d := newNeighbours(t, tt.rules)
			got := l.ask(laptop, tt.name, tt.qtype)
			if asked := len(d.questions()) > 0; asked != tt.asked {
				t.Errorf("it was asked: %t, want %t", asked, tt.asked)
			}
			if tt.asked && tt.qtype == dns.TypeA {
				if got := addrs(got); !slices.Equal(got, []string{"192.168.1.77"}) {
					t.Errorf("addresses = %v, want those of the neighbour", got)
				}
			}
			if len(got.Answer) > 0 && !tt.asked {
				t.Errorf("answer = %v, want none", got.Answer)
			}
			l.unasked()
		})
	}
}

func TestANeighbourThatIsDeadOrAwayLeavesLocalNamesAtHome(t *testing.T) {
	l, d := newNeighbours(t, LocalRules{Domains: []string{"house"}})
	d.fail(true)
	l.rcode(l.ask(laptop, "nas.house", dns.TypeA), dns.RcodeServerFailure)
	d.gone = true
	l.rcode(l.ask(laptop, "nas.house", dns.TypeA), dns.RcodeNameError)
	l.unasked()
}

func TestOfSeveralAddressesTheOneInTheAskersSubnetIsGiven(t *testing.T) {
	l := newLAN(t, nil)
	nas := Host{Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("192.168.2.5"), netip.MustParseAddr("fd00::5")}}
	local := &knows{hosts: map[string]Host{"nas.lan": nas, "files.lan": {Alias: "nas.lan"}}, rules: LocalRules{Localise: true}}
	l.deps.Local = local
	l.deps.Subnet = func(a netip.Addr) (netip.Prefix, bool) {
		p := netip.MustParsePrefix("192.168.1.0/24")
		return p, p.Contains(a)
	}
	both := []string{"192.168.1.5", "192.168.2.5"}
	for _, tt := range []struct {
		client, name string
		want         []string
	}{
		{"192.168.1.10", "nas.lan", both[:1]}, {"192.168.1.10", "files.lan", both[:1]}, {"192.168.9.10", "nas.lan", both},
	} {
		if got := addrs(l.ask(netip.MustParseAddr(tt.client), tt.name, dns.TypeA)); !slices.Equal(got, tt.want) {
			t.Errorf("%s is given %v for %s, want %v", tt.client, got, tt.name, tt.want)
		}
	}
	if got := addrs(l.ask(laptop, "nas.lan", dns.TypeAAAA)); !slices.Equal(got, []string{"fd00::5"}) {
		t.Errorf("the IPv6 address is %v, want it whatever the subnet", got)
	}
	local.rules.Localise = false
	if got := addrs(l.ask(laptop, "nas.lan", dns.TypeA)); !slices.Equal(got, both) {
		t.Errorf("without localise_queries %v is given, want %v", got, both)
	}
}

func TestACircleOfAliasesEnds(t *testing.T) {
	l := newLAN(t, nil)
	l.deps.Local = &knows{hosts: map[string]Host{"a.lan": {Alias: "b.lan"}, "b.lan": {Alias: "a.lan"}}}
	if got := l.ask(laptop, "a.lan", dns.TypeA); len(got.Answer) > maxAliases {
		t.Errorf("the answer has %d records, want %d at most", len(got.Answer), maxAliases)
	}
}

func TestANameElsewhereThatHasAServiceHereIsElsewhereForAllElse(t *testing.T) {
	l := newLAN(t, nil)
	l.deps.Local = &knows{hosts: map[string]Host{"www.direct.example": {Records: []Record{{dns.TypeMX, []byte("\x00\x0a\x03nas\x03lan\x00")}}}}}
	if got := l.ask(laptop, "www.direct.example", dns.TypeMX); len(got.Answer) != 1 || got.Answer[0].(*dns.MX).Mx != "nas.lan." {
		t.Errorf("the mail server is %v, want nas.lan", got.Answer)
	}
	l.unasked()
	if got := addrs(l.ask(laptop, "www.direct.example", dns.TypeA)); !slices.Equal(got, []string{localAnswer.String()}) {
		t.Errorf("addresses = %v, want those of the local upstream", got)
	}
}

func TestTheLANsPublicAddressesHaveNoNamesElsewhere(t *testing.T) {
	l := newLAN(t, nil)
	l.deps.Subnet = func(a netip.Addr) (netip.Prefix, bool) {
		p := netip.MustParsePrefix("2400:db8:77::/64")
		return p, p.Contains(a)
	}
	for _, name := range []string{reversed("2400:db8:77::11"), "0.0.0.0.7.7.0.0.8.b.d.0.0.0.4.2.ip6.arpa"} {
		if got := l.ask(tv, name, dns.TypePTR); len(got.Answer) > 0 {
			t.Errorf("%s has the name %v, want none", name, got.Answer)
		}
	}
	l.unasked()
	l.ask(tv, "7.7.0.0.8.b.d.0.0.0.4.2.ip6.arpa", dns.TypePTR) // the provider's own
	if len(l.remote.questions()) == 0 {
		t.Error("a network that is wider than the LAN is not asked for")
	}
}

func TestRebindingIsAllowedAsDnsmasqAllowsIt(t *testing.T) {
	for _, tt := range []struct {
		sentence, addr string
		rules          LocalRules
		want           int
	}{
		{"a private address is removed", "10.0.0.1", LocalRules{}, 0},
		{"but not of a domain that may have one", "10.0.0.1", LocalRules{RebindDomains: []string{"direct.example"}}, 1},
		{"a loopback address is removed", "127.0.0.5", LocalRules{}, 0},
		{"unless all may have one", "127.0.0.5", LocalRules{RebindLoopback: true}, 1},
		{"which says nothing of private ones", "10.0.0.1", LocalRules{RebindLoopback: true}, 0},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := newLAN(t, nil)
			l.deps.Local = &knows{rules: tt.rules}
			l.local.answer = func(m *dns.Msg, q upstreamQuestion) { m.Answer = []dns.RR{record(q.Name + ". 300 IN A " + tt.addr)} }
			if got := len(addrs(l.ask(laptop, "www.direct.example", dns.TypeA))); got != tt.want {
				t.Errorf("%d addresses are given, want %d", got, tt.want)
			}
		})
	}
}

func TestAStrangerIsAnsweredAsWithoutUsAndSharesNoAnswer(t *testing.T) {
	l := newLAN(t, nil)
	stranger := netip.MustParseAddr("192.168.9.50")
	l.strangers = func(a netip.Addr) bool { return a == stranger }
	for range 2 {
		if got := addrs(l.ask(stranger, "www.node.example", dns.TypeA)); !slices.Equal(got, []string{localAnswer.String()}) {
			t.Fatalf("a stranger is given %v, want the local upstream's %s", got, localAnswer)
		}
	}
	if got := len(l.local.questions()); got != 1 {
		t.Errorf("the local upstream was asked %d times, want once", got)
	}
	if got := l.ask(laptop, "www.node.example", dns.TypeTXT); len(got.Answer) != 1 || len(l.remote.questions()) != 1 {
		t.Errorf("a client is given %v, want an answer of the remote upstream", got.Answer)
	}
	if len(l.kernel.fakes) > 0 || len(l.kernel.way) > 0 {
		t.Errorf("the kernel was told of %v and %v, want nothing of a stranger's answers", l.kernel.fakes, l.kernel.way)
	}
}
