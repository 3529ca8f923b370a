package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// answered is a resolver's answer to a question about www, with some records.
func answered(t *testing.T, change func(*dns.Msg), texts ...string) (question, reply) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("www."+domain, dns.TypeA)
	asked, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m.Response, m.RecursionAvailable = true, true
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	if change != nil {
		change(m)
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return newQuestion("a test", "udp", asked), newReply(raw)
}

func TestEveryDifferenceIsSeen(t *testing.T) {
	const record = "www.interop.example. 300 IN A 198.51.100.2"
	_, theirs := answered(t, nil, record)
	for _, tt := range []struct {
		aspect string
		change func(*dns.Msg)
		record string
	}{
		{"rcode", func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }, record},
		{"aa", func(m *dns.Msg) { m.Authoritative = true }, record},
		{"tc", func(m *dns.Msg) { m.Truncated = true }, record},
		{"ra", func(m *dns.Msg) { m.RecursionAvailable = false }, record},
		{"ad", func(m *dns.Msg) { m.AuthenticatedData = true }, record},
		{"question", func(m *dns.Msg) { m.Question[0].Name = "WWW." + domain }, record},
		{"edns", func(m *dns.Msg) { m.SetEdns0(1232, false) }, record},
		{"answer", nil, "www.interop.example. 300 IN A 198.51.100.3"},
		{"ttl", nil, "www.interop.example. 100 IN A 198.51.100.2"},
	} {
		q, ours := answered(t, tt.change, tt.record)
		found := differences(ours, theirs, time.Second)
		if len(found) != 1 || found[0].aspect != tt.aspect {
			t.Errorf("differences = %v, want one of %s", found, tt.aspect)
			continue
		}
		if a, ok := allowance(q, found[0], ours, theirs); ok {
			t.Errorf("the difference %v is allowed: %s; want it reported", found[0], a.why)
		}
	}
	if found := differences(reply{}, theirs, 0); len(found) != 1 || found[0].aspect != "reply" {
		t.Errorf("differences of silence = %v, want one of reply", found)
	}
}

func TestEveryFaultIsSeen(t *testing.T) {
	const alias, target = "www.interop.example. 300 IN CNAME a.example.", "a.example. 300 IN A 198.51.100.2"
	for _, tt := range []struct {
		want    string
		change  func(*dns.Msg)
		records []string
	}{
		{"", nil, []string{alias, target}},
		{"an alias comes behind", nil, []string{target, alias}},
		{"twice", nil, []string{alias, target, target}},
		{"differ in TTL", nil, []string{alias, target, "a.example. 200 IN A 198.51.100.3"}},
		{"EDNS in it is true", func(m *dns.Msg) { m.SetEdns0(1232, false) }, nil},
		{"its id", func(m *dns.Msg) { m.Id++ }, nil},
		{"no answer", func(m *dns.Msg) { m.Response = false }, nil},
		{"octets", func(m *dns.Msg) {
			m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: "www." + domain, Rrtype: dns.TypeTXT, Class: 1}, Txt: slices.Repeat([]string{strings.Repeat("x", 200)}, 3)}}
		}, nil},
	} {
		q, r := answered(t, tt.change, tt.records...)
		switch got := faults(q, r); {
		case tt.want == "" && len(got) > 0:
			t.Errorf("faults = %q, want none", got)
		case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
			t.Errorf("faults = %q, want one with %q", got, tt.want)
		}
	}
}

func TestTheZoneAnswersAsItsRecordsSay(t *testing.T) {
	z, err := newZone()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		qtype uint16
		rcode int
		want  []uint16 // types of the answer
	}{
		{"www", dns.TypeA, dns.RcodeSuccess, []uint16{dns.TypeA}},
		{"alias2", dns.TypeA, dns.RcodeSuccess, []uint16{dns.TypeCNAME, dns.TypeCNAME, dns.TypeA}},
		{"four", dns.TypeAAAA, dns.RcodeSuccess, nil},
		{"b.c.deep", dns.TypeA, dns.RcodeSuccess, nil},
		{"x.y.wild", dns.TypeA, dns.RcodeSuccess, []uint16{dns.TypeA}},
		{"x.kept.wild", dns.TypeA, dns.RcodeNameError, nil},
		{"www.dname", dns.TypeA, dns.RcodeSuccess, []uint16{dns.TypeDNAME, dns.TypeCNAME, dns.TypeA}},
		{"nowhere", dns.TypeA, dns.RcodeNameError, nil},
	} {
		f := z.find(tt.name+"."+domain, tt.qtype)
		var got []uint16
		for _, rr := range f.answer {
			got = append(got, rr.Header().Rrtype)
		}
		if f.rcode != tt.rcode || !slices.Equal(got, tt.want) {
			t.Errorf("%s: rcode %d with types %v, want %d with %v", tt.name, f.rcode, got, tt.rcode, tt.want)
		}
		if negative := len(tt.want) == 0; negative != (len(f.authority) > 0) {
			t.Errorf("%s: authority = %v, want a SOA record: %v", tt.name, f.authority, negative)
		}
	}
}
