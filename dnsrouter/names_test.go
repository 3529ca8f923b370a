package dnsrouter

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestNamesOfNobodyElseAreAnsweredHere(t *testing.T) {
	for _, tt := range []struct {
		sentence, name string
		qtype          uint16
		rcode          int
		want           []string
	}{
		{"localhost is this host", "localhost", dns.TypeA, dns.RcodeSuccess, []string{"127.0.0.1"}},
		{"also over IPv6", "a.localhost", dns.TypeAAAA, dns.RcodeSuccess, []string{"::1"}},
		{"and nothing else", "localhost", dns.TypeTXT, dns.RcodeSuccess, nil},
		{"multicast names are asked elsewhere", "tv.local", dns.TypeA, dns.RcodeNameError, nil},
		{"onions are not in DNS", "a.onion", dns.TypeA, dns.RcodeNameError, nil},
		{"invalid is", "a.invalid", dns.TypeAAAA, dns.RcodeNameError, nil},
		{"test is private", "a.test", dns.TypeHTTPS, dns.RcodeNameError, nil},
		{"home.arpa is private", "a.home.arpa", dns.TypeA, dns.RcodeNameError, nil},
		{"a name that only ends alike is not", "xhome.arpa", dns.TypeTXT, dns.RcodeSuccess, nil},
		{"a single label is a host's", "wpad", dns.TypeA, dns.RcodeNameError, nil},
		{"also with a dot in it", `www\.direct\.example`, dns.TypeA, dns.RcodeNameError, nil},
		{"letters are compared without case", "TV.LoCaL", dns.TypeA, dns.RcodeNameError, nil},
		{"a host that is known", "nas.lan", dns.TypeA, dns.RcodeSuccess, []string{"192.168.1.5"}},
		{"has no address that is not", "nas.lan", dns.TypeAAAA, dns.RcodeSuccess, nil},
		{"nor service records", "nas.lan", dns.TypeHTTPS, dns.RcodeSuccess, nil},
		{"a host without a domain", "printer", dns.TypeA, dns.RcodeSuccess, []string{"192.168.1.6"}},
		{"one of the domain that is not known", "x.y.lan", dns.TypeA, dns.RcodeNameError, nil},
		{"the domain itself exists, since names under it do", "lan", dns.TypeA, dns.RcodeSuccess, nil},
		{"and nobody else can sign it", "lan", dns.TypeDS, dns.RcodeSuccess, nil},
		{"special domains are not signed, either", "onion", dns.TypeDS, dns.RcodeNameError, nil},
		{"the root has no address", "", dns.TypeA, dns.RcodeSuccess, nil},
		{"nor services", "", dns.TypeHTTPS, dns.RcodeSuccess, nil},
		{"we offer no encrypted resolver", "_dns.resolver.arpa", dns.TypeSVCB, dns.RcodeSuccess, nil},
		{"a private address has no name", "1.0.0.10.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, nil},
		{"nor a network of them, but there may be names under it", "168.192.in-addr.arpa", dns.TypePTR, dns.RcodeSuccess, nil},
		{"nor has what is called after one", "lb._dns-sd._udp.0.1.168.192.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, nil},
		{"nor a shared one", "1.1.64.100.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, nil},
		{"nor a fake one", "7.0.18.198.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, nil},
		{"nor a fake one of IPv6", reversed("2001:2::7"), dns.TypePTR, dns.RcodeNameError, nil},
		{"nor one of the link", reversed("fe80::1"), dns.TypePTR, dns.RcodeNameError, nil},
		{"nor everybody's", reversed("255.255.255.255"), dns.TypePTR, dns.RcodeNameError, nil},
		{"nor one of examples", "7.2.0.192.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, nil},
		{"nor one of a second network of them", "7.100.51.198.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, nil},
		{"nor one of a third", "7.113.0.203.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, nil},
		{"nor such a one of IPv6", reversed("2001:db8::7"), dns.TypePTR, dns.RcodeNameError, nil},
		{"a private address has no text either", "1.0.0.10.in-addr.arpa", dns.TypeTXT, dns.RcodeNameError, nil},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := newLAN(t, nil)
			for _, client := range []netip.Addr{laptop, tv, desk} {
				got := l.ask(client, tt.name, tt.qtype)
				l.rcode(got, tt.rcode)
				if tt.name != "xhome.arpa" && !slices.Equal(addrs(got), tt.want) {
					t.Errorf("%s was told %v, want %v", client, addrs(got), tt.want)
				}
				if len(got.Answer) == 0 && len(got.Ns) == 0 && tt.name != "xhome.arpa" {
					t.Errorf("the answer to %s cannot be kept: it has no SOA record", client)
				}
			}
			if tt.name != "xhome.arpa" {
				l.unasked()
			}
		})
	}
}

// What a validating client asks on its way down from the root.
func TestValidatingClientsFindTheirWay(t *testing.T) {
	for _, tt := range []struct {
		name  string
		qtype uint16
	}{{"", dns.TypeDNSKEY}, {"", dns.TypeNS}, {"", dns.TypeSOA}, {"example", dns.TypeDS}, {"example", dns.TypeDNSKEY}, {"com", dns.TypeDS}} {
		l := newLAN(t, nil)
		l.deps.Local = homeNames{"com": laptop} // as a device calls itself
		l.remote.answer = func(*dns.Msg, upstreamQuestion) {}
		l.rcode(l.ask(laptop, tt.name, tt.qtype), dns.RcodeSuccess)
		if asked := l.remote.questions(); len(asked) != 1 || asked[0].Name != tt.name || asked[0].Type != tt.qtype {
			t.Errorf("%q %s: the upstream was asked %v, want this", tt.name, dns.TypeToString[tt.qtype], asked)
		}
	}
}

func reversed(addr string) string {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		panic(err)
	}
	return name
}

func TestWhoWantsNoRecursionIsToldOfLocalNamesOnly(t *testing.T) {
	l := newLAN(t, nil)
	l.ask(laptop, "www.direct.example", dns.TypeA) // is in the cache then
	before := len(l.local.questions())
	for name, rcode := range map[string]int{
		"nas.lan": dns.RcodeSuccess, "x.y.lan": dns.RcodeNameError, "localhost": dns.RcodeSuccess,
		"www.direct.example": dns.RcodeRefused, "other.direct.example": dns.RcodeRefused, "www.node.example": dns.RcodeRefused,
	} {
		m := new(dns.Msg)
		m.SetQuestion(dns.Fqdn(name), dns.TypeA)
		m.RecursionDesired = false
		got := l.exchange(laptop, m)
		l.rcode(got, rcode)
		if got.RecursionDesired || len(got.Answer) > 0 != (rcode == dns.RcodeSuccess) {
			t.Errorf("the answer to %s is %v, want it without RD, and records only with NOERROR", name, got)
		}
	}
	if got := len(l.local.questions()); got != before || len(l.remote.questions()) > 0 {
		t.Errorf("upstreams were asked %d and %d questions, want none", got-before, len(l.remote.questions()))
	}
}

func TestAnAddressOfTheNetworkHasItsHostsName(t *testing.T) {
	l := newLAN(t, nil)
	got := l.ask(laptop, "5.1.168.192.in-addr.arpa", dns.TypePTR)
	if len(got.Answer) != 1 || got.Answer[0].(*dns.PTR).Ptr != "nas.lan." {
		t.Errorf("answer = %v, want nas.lan.", got.Answer)
	}
	l.unasked()
}

func TestANameIsAnsweredByItsWay(t *testing.T) {
	const fake, fromLocal, fromRemote, none = "fake", "198.51.100.10", "198.51.100.20", ""
	for _, tt := range []struct {
		sentence string
		client   netip.Addr
		name     string
		want     string
	}{
		{"a direct name is asked locally", laptop, "www.direct.example", fromLocal},
		{"also by a realip client", tv, "www.direct.example", fromLocal},
		{"one that ends in it within a label is another", tv, `www\.direct.example`, fromRemote},
		{"a name of the node is faked", laptop, "www.node.example", fake},
		{"but not for a realip client", tv, "www.node.example", fromRemote},
		{"nor for one whose every name is direct", desk, "www.node.example", fromLocal},
		{"a client that is off is answered locally", guest, "www.node.example", fromLocal},
		{"a rejected name does not exist", laptop, "www.blocked.example", none},
		{"for nobody", tv, "www.blocked.example", none},
		{"but for a client that is off", guest, "www.blocked.example", fromLocal},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := newLAN(t, nil)
			got := addrs(l.ask(tt.client, tt.name, dns.TypeA))
			switch {
			case tt.want == none && len(got) > 0:
				t.Errorf("addresses = %v, want none", got)
			case tt.want == fake && (len(got) != 1 || !isFake(l.plan, got[0])):
				t.Errorf("addresses = %v, want a fake one", got)
			case tt.want != none && tt.want != fake && !slices.Equal(got, []string{tt.want}):
				t.Errorf("addresses = %v, want %s", got, tt.want)
			}
			wantLocal, wantRemote := tt.want == fromLocal, tt.want == fromRemote
			if got := len(l.local.questions()) > 0; got != wantLocal {
				t.Errorf("the local upstream was asked: %t, want %t", got, wantLocal)
			}
			if got := len(l.remote.questions()) > 0; got != wantRemote {
				t.Errorf("the remote upstream was asked: %t, want %t", got, wantRemote)
			}
		})
	}
}

func TestAFakedNameNeverCarriesARealAddress(t *testing.T) {
	l := newLAN(t, nil)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB} {
		got := l.ask(laptop, "www.node.example", qtype)
		l.rcode(got, dns.RcodeSuccess)
		for _, a := range addrs(got) {
			if !isFake(l.plan, a) {
				t.Errorf("%s: got %s, want fake addresses only", dns.TypeToString[qtype], a)
			}
		}
		if isAddr := qtype == dns.TypeA || qtype == dns.TypeAAAA; isAddr != (len(got.Answer) == 1) {
			t.Errorf("%s: got records %v", dns.TypeToString[qtype], got.Answer)
		}
	}
	l.unasked()
}

func TestOtherTypesOfAFakedNameAreAskedOfItsUpstream(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.answer = func(m *dns.Msg, _ upstreamQuestion) {
		m.Answer = []dns.RR{record("www.node.example. 300 IN MX 10 mail.node.example.")}
		m.Extra = []dns.RR{record("mail.node.example. 300 IN A 198.51.100.99")}
	}
	got := l.ask(laptop, "www.node.example", dns.TypeMX)
	if len(got.Answer) != 1 {
		t.Errorf("answer = %v, want the MX record", got.Answer)
	}
	for _, rr := range got.Extra {
		if rr.Header().Rrtype == dns.TypeA {
			t.Errorf("the reply carries %v beside the answer", rr)
		}
	}
	if len(l.local.questions()) > 0 {
		t.Error("the local upstream was asked")
	}
}

func TestANameOfTheRealIPListIsNotFaked(t *testing.T) {
	cfg := household(t)
	cfg.RealIP = patterns(t, "console.example")
	l := newLAN(t, func(p *Plan) { p.Policy = policy.New(cfg) })
	if got := addrs(l.ask(laptop, "a.console.example", dns.TypeA)); !slices.Equal(got, []string{remoteAnswer.String()}) {
		t.Errorf("addresses = %v, want the remote upstream's, %s", got, remoteAnswer)
	}
	if len(l.local.questions()) > 0 {
		t.Error("the local upstream was asked for a name of the node")
	}
}

func TestARejectedNameIsAnsweredAsWanted(t *testing.T) {
	for _, tt := range []struct {
		answer RejectAnswer
		qtype  uint16
		rcode  int
		want   []string
	}{
		{NXDomain, dns.TypeA, dns.RcodeNameError, nil},
		{NoData, dns.TypeA, dns.RcodeSuccess, nil},
		{Zero, dns.TypeA, dns.RcodeSuccess, []string{"0.0.0.0"}},
		{Zero, dns.TypeAAAA, dns.RcodeSuccess, []string{"::"}},
		{Zero, dns.TypeHTTPS, dns.RcodeSuccess, nil},
	} {
		l := newLAN(t, func(p *Plan) { p.Config.RejectAnswer = tt.answer })
		got := l.ask(tv, "blocked.example", tt.qtype)
		l.rcode(got, tt.rcode)
		if !slices.Equal(addrs(got), tt.want) {
			t.Errorf("answer %d, type %d: addresses = %v, want %v", tt.answer, tt.qtype, addrs(got), tt.want)
		}
		l.unasked()
	}
}

func TestWithoutIPv6NoNameHasAnAddressOfIt(t *testing.T) {
	l := newLAN(t, func(p *Plan) { p.Config.IPv6 = false })
	for _, client := range []netip.Addr{laptop, tv, desk} {
		for _, name := range []string{"www.direct.example", "www.node.example"} {
			got := l.ask(client, name, dns.TypeAAAA)
			l.rcode(got, dns.RcodeSuccess)
			if len(got.Answer) > 0 || len(got.Ns) == 0 {
				t.Errorf("%s was told %v for %s, want no data", client, got.Answer, name)
			}
		}
	}
	l.unasked()
}
