package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/miekg/dns"
)

// response is an upstream's answer, packed and compressed by another library.
// Records that begin with ";" go to the authority, with "+" to the additional
// section.
func response(t testing.TB, name string, typ uint16, change func(*dns.Msg), records ...string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), typ)
	m.Id = 0x4321
	m.Response, m.RecursionAvailable, m.Compress = true, true, true
	for _, text := range records {
		rr, err := dns.NewRR(strings.TrimLeft(text, ";+"))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		switch text[0] {
		case ';':
			m.Ns = append(m.Ns, rr)
		case '+':
			m.Extra = append(m.Extra, rr)
		default:
			m.Answer = append(m.Answer, rr)
		}
	}
	m.SetEdns0(1232, false)
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func scrubbed(t testing.TB, msg []byte, f wire.Filter) wire.Scrubbed {
	t.Helper()
	r, err := wire.ParseResponse(msg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Scrub(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lines are the records of a message as text, sections marked as in response.
func lines(m *dns.Msg) []string {
	var out []string
	for _, rr := range m.Answer {
		out = append(out, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	for _, rr := range m.Ns {
		out = append(out, ";"+strings.ReplaceAll(rr.String(), "\t", " "))
	}
	for _, rr := range m.Extra {
		out = append(out, "+"+strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return out
}

func TestOnlyWhatAnswersTheQuestionIsKept(t *testing.T) {
	const soa = "example. 900 IN SOA ns.example. h.example. 1 2 3 4 300"
	tests := []struct {
		name    string
		q       string
		typ     uint16
		rcode   int
		records []string
		want    []string
	}{
		{"records of the question's chain stay, and come in its order", "a.example", dns.TypeA, 0,
			[]string{"c.example. 5 IN A 192.0.2.1", "b.example. 7 IN CNAME c.example.", "A.example. 9 IN CNAME b.example."},
			[]string{"a.example. 9 IN CNAME b.example.", "b.example. 7 IN CNAME c.example.", "c.example. 5 IN A 192.0.2.1"}},
		{"records of other names go", "a.example", dns.TypeA, 0,
			[]string{"a.example. 5 IN A 192.0.2.1", "bank.example. 5 IN A 192.0.2.66", "bank.example. 5 IN CNAME evil.example."},
			[]string{"a.example. 5 IN A 192.0.2.1"}},
		{"records of other types go", "a.example", dns.TypeA, 0,
			[]string{"a.example. 5 IN A 192.0.2.1", "a.example. 5 IN AAAA 2001:db8::1", "a.example. 5 IN TXT x"},
			[]string{"a.example. 5 IN A 192.0.2.1"}},
		{"a second alias of the same name goes, with what it leads to", "a.example", dns.TypeA, 0,
			[]string{"a.example. 5 IN CNAME b.example.", "a.example. 5 IN CNAME evil.example.", "b.example. 5 IN A 192.0.2.1", "evil.example. 5 IN A 192.0.2.66"},
			[]string{"a.example. 5 IN CNAME b.example.", "b.example. 5 IN A 192.0.2.1"}},
		{"addresses beside an alias go", "a.example", dns.TypeA, 0,
			[]string{"a.example. 5 IN CNAME b.example.", "a.example. 5 IN A 192.0.2.66", "b.example. 5 IN A 192.0.2.1"},
			[]string{"a.example. 5 IN CNAME b.example.", "b.example. 5 IN A 192.0.2.1"}},
		{"authority and additional of a positive answer go", "a.example", dns.TypeA, 0,
			[]string{"a.example. 5 IN A 192.0.2.1", ";example. 5 IN NS ns.evil.", ";" + soa, "+ns.evil. 5 IN A 192.0.2.66"},
			[]string{"a.example. 5 IN A 192.0.2.1"}},
		{"the SOA of a negative answer stays, its TTL no longer than its minimum", "a.example", dns.TypeA, dns.RcodeNameError,
			[]string{";" + soa, ";example. 5 IN NS ns.evil."},
			[]string{";example. 300 IN SOA ns.example. h.example. 1 2 3 4 300"}},
		{"the SOA of a zone that the name is not in goes", "a.example", dns.TypeA, dns.RcodeNameError,
			[]string{";bank. 5 IN SOA a. b. 1 2 3 4 5"}, nil},
		{"an alias that leads nowhere is a negative answer of its target", "a.example", dns.TypeAAAA, 0,
			[]string{"a.example. 5 IN CNAME b.test.", ";" + soa, ";test. 5 IN SOA a. b. 1 2 3 4 5"},
			[]string{"a.example. 5 IN CNAME b.test.", ";test. 5 IN SOA a. b. 1 2 3 4 5"}},
		{"a question for an alias does not follow it", "a.example", dns.TypeCNAME, 0,
			[]string{"a.example. 5 IN CNAME b.example.", "b.example. 5 IN CNAME c.example."},
			[]string{"a.example. 5 IN CNAME b.example."}},
		{"signatures and the DNAME of the chain stay", "a.x.example", dns.TypeA, 0,
			[]string{"x.example. 5 IN DNAME y.example.", "a.x.example. 5 IN CNAME a.y.example.", "a.y.example. 5 IN A 192.0.2.1",
				"a.y.example. 5 IN RRSIG A 8 3 5 20300101000000 20200101000000 1 y.example. AAAA",
				"z.example. 5 IN DNAME evil."},
			[]string{"x.example. 5 IN DNAME y.example.", "a.x.example. 5 IN CNAME a.y.example.", "a.y.example. 5 IN A 192.0.2.1",
				"a.y.example. 5 IN RRSIG A 8 3 5 20300101000000 20200101000000 1 y.example. AAAA"}},
		{"names in the data of every type are carried over", "a.example", dns.TypeANY, 0,
			[]string{"a.example. 5 IN MX 10 mail.example.", "a.example. 5 IN SRV 1 2 3 srv.example.", `a.example. 5 IN NAPTR 1 2 "s" "x" "" r.example.`,
				"a.example. 5 IN RP m.example. t.example.", "a.example. 5 IN TYPE65400 \\# 3 c00c00"},
			[]string{"a.example. 5 IN MX 10 mail.example.", "a.example. 5 IN SRV 1 2 3 srv.example.", `a.example. 5 IN NAPTR 1 2 "s" "x" "" r.example.`,
				"a.example. 5 IN RP m.example. t.example.", "a.example. 5 CLASS1 TYPE65400 \\# 3 c00c00"}},
		{"a TTL over a day is cut", "a.example", dns.TypeA, 0,
			[]string{"a.example. 4294967295 IN A 192.0.2.1"}, []string{"a.example. 86400 IN A 192.0.2.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := scrubbed(t, response(t, tt.q, tt.typ, func(m *dns.Msg) { m.Rcode = tt.rcode }, tt.records...), wire.Filter{})
			if got := lines(unpacked(t, s.Msg)); !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestAScrubbedAnswerTellsHowLongItLives(t *testing.T) {
	const soa = ";example. 900 IN SOA ns.example. h.example. 1 2 3 4 300"
	tests := []struct {
		name     string
		rcode    int
		records  []string
		ttl      uint32
		negative bool
	}{
		{"the least TTL of the answer", 0, []string{"a.example. 60 IN CNAME b.example.", "b.example. 30 IN A 192.0.2.1", "b.example. 40 IN A 192.0.2.2"}, 30, false},
		{"no such name: by the SOA's minimum", dns.RcodeNameError, []string{soa}, 300, true},
		{"no such data: the same", 0, []string{soa}, 300, true},
		{"no such data behind an alias: by whichever is less", 0, []string{"a.example. 60 IN CNAME b.example.", soa}, 60, true},
		{"negative without SOA: not at all", dns.RcodeNameError, nil, 0, true},
		{"server failure: not at all, and no negative answer", dns.RcodeServerFailure, nil, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := scrubbed(t, response(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.Rcode = tt.rcode }, tt.records...), wire.Filter{})
			if s.TTL != tt.ttl || s.Negative != tt.negative || s.Rcode != uint16(tt.rcode) {
				t.Errorf("TTL %d, negative %v, rcode %d; want %d, %v, %d", s.TTL, s.Negative, s.Rcode, tt.ttl, tt.negative, tt.rcode)
			}
		})
	}
}

func TestTheTTLOffsetsAreThoseOfAllRecords(t *testing.T) {
	s := scrubbed(t, response(t, "a.example", dns.TypeA, nil, "a.example. 60 IN CNAME b.example.", "b.example. 30 IN A 192.0.2.1"), wire.Filter{})
	for _, at := range s.TTLs {
		copy(s.Msg[at:], []byte{0, 0, 0, 7})
	}
	for _, rr := range unpacked(t, s.Msg).Answer {
		if got := rr.Header().Ttl; got != 7 {
			t.Errorf("TTL = %d, want 7", got)
		}
	}
	if got, want := len(s.TTLs), 2; got != want {
		t.Errorf("%d offsets, want %d", got, want)
	}
}

func TestAChainOfElevenAliasesIsTheLongest(t *testing.T) {
	for _, n := range []int{11, 12} {
		var records []string
		for i := range n {
			records = append(records, fmt.Sprintf("n%d.example. 5 IN CNAME n%d.example.", i, i+1))
		}
		records = append(records, fmt.Sprintf("n%d.example. 5 IN A 192.0.2.1", n))
		r, err := wire.ParseResponse(response(t, "n0.example", dns.TypeA, nil, records...))
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Scrub(nil, wire.Filter{})
		if tooLong := errors.Is(err, wire.ErrChain); tooLong != (n > 11) {
			t.Errorf("%d aliases: %v", n, err)
		}
	}
}

func TestALoopOfAliasesIsAnError(t *testing.T) {
	r, err := wire.ParseResponse(response(t, "a.example", dns.TypeA, nil, "a.example. 5 IN CNAME b.example.", "b.example. 5 IN CNAME a.example."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Scrub(nil, wire.Filter{}); !errors.Is(err, wire.ErrChain) {
		t.Errorf("Scrub = %v, want %v", err, wire.ErrChain)
	}
	if got := r.AppendAddrs(nil); got != nil {
		t.Errorf("AppendAddrs = %v, want none", got)
	}
}

func TestTheFilterTakesPrivateAddressesAndHints(t *testing.T) {
	tests := []struct {
		name    string
		typ     uint16
		f       wire.Filter
		records []string
		want    []string
		dropped int
	}{
		{"private addresses go", dns.TypeA, wire.Filter{Drop: wire.IsPrivate},
			[]string{"a.example. 5 IN A 192.0.2.1", "a.example. 5 IN A 192.168.1.1"}, []string{"a.example. 5 IN A 192.0.2.1"}, 1},
		{"mapped ones too", dns.TypeAAAA, wire.Filter{Drop: wire.IsPrivate},
			[]string{"a.example. 5 IN AAAA ::ffff:10.0.0.1", "a.example. 5 IN AAAA 64:ff9b::127.0.0.1"}, nil, 2},
		{"a hint with a private address goes, the other stays", dns.TypeHTTPS, wire.Filter{Drop: wire.IsPrivate},
			[]string{`a.example. 5 IN HTTPS 1 . alpn="h2" ipv4hint="192.0.2.1,10.0.0.1" ipv6hint="2001:db8::1"`},
			[]string{`a.example. 5 IN HTTPS 1 . alpn="h2" ipv6hint="2001:db8::1"`}, 1},
		{"ech goes on request", dns.TypeHTTPS, wire.Filter{StripECH: true},
			[]string{`a.example. 5 IN HTTPS 1 . alpn="h2" ipv4hint="192.0.2.1" ech="AAAA"`},
			[]string{`a.example. 5 IN HTTPS 1 . alpn="h2" ipv4hint="192.0.2.1"`}, 1},
		{"hints go on request", dns.TypeSVCB, wire.Filter{StripHints: true},
			[]string{`a.example. 5 IN SVCB 1 b.example. alpn="h2" port="8443" ipv4hint="192.0.2.1" ech="AAAA" ipv6hint="2001:db8::1"`},
			[]string{`a.example. 5 IN SVCB 1 b.example. alpn="h2" port="8443" ech="AAAA"`}, 1},
		{"a record that needs what goes, goes as a whole", dns.TypeHTTPS, wire.Filter{StripECH: true},
			[]string{`a.example. 5 IN HTTPS 1 . mandatory="ech" ech="AAAA"`, `a.example. 5 IN HTTPS 2 . alpn="h2"`},
			[]string{`a.example. 5 IN HTTPS 2 . alpn="h2"`}, 1},
		{"other hosts go on request", dns.TypeHTTPS, wire.Filter{StripOther: true},
			[]string{`a.example. 5 IN HTTPS 0 b.example.`, `a.example. 5 IN HTTPS 1 b.example. alpn="h2"`, `a.example. 5 IN HTTPS 2 . alpn="h2"`},
			[]string{`a.example. 5 IN HTTPS 2 . alpn="h2"`}, 2},
		{"a malformed record goes", dns.TypeHTTPS, wire.Filter{StripECH: true},
			[]string{`a.example. 5 IN TYPE65279 \# 5 0001000001`}, nil, 1},
		{"nothing goes without request", dns.TypeHTTPS, wire.Filter{},
			[]string{`a.example. 5 IN HTTPS 1 . alpn="h2" ipv4hint="10.0.0.1" ech="AAAA"`},
			[]string{`a.example. 5 IN HTTPS 1 . alpn="h2" ipv4hint="10.0.0.1" ech="AAAA"`}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := response(t, "a.example", tt.typ, func(m *dns.Msg) { m.AuthenticatedData = true }, tt.records...)
			msg = bytes.ReplaceAll(msg, []byte{0xfe, 0xff}, []byte{0, 65}) // the library writes no malformed HTTPS records
			s := scrubbed(t, msg, tt.f)
			m := unpacked(t, s.Msg)
			if got := lines(m); !slices.Equal(got, tt.want) || s.Dropped != tt.dropped {
				t.Errorf("got %q, %d dropped; want %q, %d", got, s.Dropped, tt.want, tt.dropped)
			}
			if m.AuthenticatedData != (tt.dropped == 0) {
				t.Errorf("AD = %v with %d dropped", m.AuthenticatedData, tt.dropped)
			}
		})
	}
}

func TestAddressesAreThoseOfTheChainsEnd(t *testing.T) {
	r, err := wire.ParseResponse(response(t, "a.example", dns.TypeAAAA, nil,
		"a.example. 9 IN CNAME b.example.", "b.example. 5 IN AAAA ::ffff:192.0.2.1", "b.example. 6 IN AAAA 2001:db8::1", "c.example. 7 IN AAAA 2001:db8::66"))
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	if got := r.AppendAddrs(nil); !slices.Equal(got, want) {
		t.Errorf("AppendAddrs = %v, want %v", got, want)
	}
}

func TestAResponseIsToTheQuestionOrRefused(t *testing.T) {
	query, err := wire.AppendQuery(nil, "a.example", wire.Ask{ID: 0x4321, Type: wire.TypeA, Class: wire.ClassIN, Size: 1232})
	if err != nil {
		t.Fatal(err)
	}
	good := response(t, "a.example", dns.TypeA, nil, "a.example. 5 IN A 192.0.2.1")
	with := func(change func(b []byte)) []byte {
		b := slices.Clone(good)
		change(b)
		return b
	}
	tests := []struct {
		name  string
		msg   []byte
		exact bool
		want  error
	}{
		{"the answer is accepted", good, true, nil},
		{"another id is refused", with(func(b []byte) { b[1]++ }), false, wire.ErrMismatch},
		{"another name is refused", response(t, "b.example", dns.TypeA, nil), false, wire.ErrMismatch},
		{"another type is refused", response(t, "a.example", dns.TypeAAAA, nil), false, wire.ErrMismatch},
		{"a name that begins alike is refused", response(t, "a.example.org", dns.TypeA, nil), false, wire.ErrMismatch},
		{"a query is refused", with(func(b []byte) { b[2] &^= 0x80 }), false, wire.ErrMalformed},
		{"no question is refused", with(func(b []byte) { b[5] = 0 }), false, wire.ErrMalformed},
		{"trailing octets are refused", append(slices.Clone(good), 0), false, wire.ErrMalformed},
		{"a cut message is refused", good[:len(good)-1], false, wire.ErrMalformed},
		{"a cut message that says so is accepted", with(func(b []byte) { b[2] |= 2 })[:len(good)-3], false, nil},
		{"other letter case is refused when it must be exact", with(func(b []byte) { b[13] = 'A' }), true, wire.ErrCase},
		{"other letter case is accepted when not", with(func(b []byte) { b[13] = 'A' }), false, nil},
		{"two OPT records are refused", response(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.Extra = append(m.Extra, m.Extra[0]) }), false, wire.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := wire.Validate(tt.msg, query, tt.exact); got != tt.want {
				t.Errorf("Validate = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAQueryForAnUpstreamIsReadByOthers(t *testing.T) {
	for _, padded := range []bool{false, true} {
		for _, name := range []string{"", "a", "www.example.com", `odd\.label.example`, strings.Repeat("label.", 20) + "example"} {
			b, err := wire.AppendQuery([]byte("xx"), name, wire.Ask{ID: 7, Type: wire.TypeHTTPS, Class: wire.ClassIN, DO: true, CD: true, Size: 1232, Pad: padded})
			if err != nil {
				t.Fatal(err)
			}
			m := unpacked(t, b[2:])
			if opt := m.IsEdns0(); m.Id != 7 || m.Question[0].Name != dns.Fqdn(name) || opt == nil || !opt.Do() || opt.UDPSize() != 1232 || !m.CheckingDisabled || !m.RecursionDesired {
				t.Errorf("query is %v", m)
			}
			if size := len(b) - 2; padded && size%128 != 0 {
				t.Errorf("query for %q has %d octets, want a multiple of 128", name, size)
			}
		}
	}
}

func TestAQueryWithoutEDNSIsTheSameBesides(t *testing.T) {
	b, err := wire.AppendQuery(nil, "www.example.com", wire.Ask{ID: 7, Type: wire.TypeAAAA, Class: wire.ClassIN, CD: true, Size: 1232})
	if err != nil {
		t.Fatal(err)
	}
	want := unpacked(t, b)
	want.Extra = nil
	if got := unpacked(t, wire.WithoutEDNS(b)); got.String() != want.String() {
		t.Errorf("query is %v\nwant %v", got, want)
	}
}

func TestMixedCaseIsTheSameName(t *testing.T) {
	b, err := wire.AppendQuery(nil, "www.example-1.com", wire.Ask{Type: wire.TypeA, Class: wire.ClassIN})
	if err != nil {
		t.Fatal(err)
	}
	wire.MixCase(b, []byte{0b01010101, 0xff})
	if got, want := unpacked(t, b).Question[0].Name, "WwW.eXaMpLE-1.COM."; got != want {
		t.Errorf("name is %q, want %q", got, want)
	}
}

func TestPrivateAddressesAreKnownInEveryForm(t *testing.T) {
	for addr, want := range map[string]bool{
		"0.0.0.0": true, "0.1.2.3": true, "10.1.2.3": true, "100.64.0.1": true, "100.127.255.255": true, "127.0.0.53": true,
		"169.254.1.1": true, "172.16.0.1": true, "172.31.255.255": true, "192.168.0.1": true,
		"::": true, "::1": true, "fd00::1": true, "fe80::1": true, "fe80::1%eth0": true, "64:ff9b:1::1": true,
		"::ffff:192.168.1.1": true, "64:ff9b::10.0.0.1": true, "::10.0.0.1": true,
		"255.255.255.255": true, "fec0::1": true, "feff::1": true, "2002:c0a8:101::1": true,
		"1.0.0.0": false, "100.63.255.255": false, "100.128.0.0": false, "172.32.0.1": false, "192.0.2.1": false,
		"198.18.0.1": false, "2001:db8::1": false, "64:ff9b::8.8.8.8": false, "::ffff:8.8.8.8": false, "64:ff9b:2::1": false,
		"255.255.255.254": false, "ff02::1": false, "2002:808:808::1": false,
	} {
		if got := wire.IsPrivate(netip.MustParseAddr(addr)); got != want {
			t.Errorf("IsPrivate(%s) = %v, want %v", addr, got, want)
		}
	}
}

func TestReverseNamesStandForTheirAddresses(t *testing.T) {
	for name, want := range map[string]string{
		"1.2.0.192.in-addr.arpa":   "192.0.2.1/32",
		"168.192.in-addr.arpa":     "192.168.0.0/16",
		"in-addr.arpa":             "0.0.0.0/0",
		"8.b.d.0.1.0.0.2.ip6.arpa": "2001:db8::/32",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "2001:db8::1/128",
		"256.in-addr.arpa": "", "1.2.3.4.5.in-addr.arpa": "", "x.in-addr.arpa": "", ".in-addr.arpa": "", "1..2.in-addr.arpa": "",
		"1xin-addr.arpa": "", "10.ip6.arpa": "", "g.ip6.arpa": "", ".1.ip6.arpa": "", "example.com": "", "": "",
		"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa": "",
	} {
		got, ok := wire.ReversePrefix([]byte(name))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("ReversePrefix(%q) = %v, %v, want %q", name, got, ok, want)
		}
	}
}
