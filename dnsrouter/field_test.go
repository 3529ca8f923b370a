package dnsrouter

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// wants is a question with flags of DNSSEC.
func wants(name string, qtype uint16, ad, cd, do bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	m.AuthenticatedData, m.CheckingDisabled = ad, cd
	m.SetEdns0(1232, do)
	return m
}

// signed answers as a resolver that validated: the address, its signature, and
// the word that it is authentic.
func signed(m *dns.Msg, q upstreamQuestion) {
	m.AuthenticatedData = true
	m.Answer = []dns.RR{
		record(q.Name + ". 300 IN A 198.51.100.20"),
		record(q.Name + ". 300 IN RRSIG A 8 3 300 20300101000000 20200101000000 1 node.example. c2lnbmF0dXJl"),
	}
}

func TestTheFlagsOfDNSSECAreThoseOfRFC6840(t *testing.T) {
	for _, tt := range []struct {
		sentence   string
		ad, cd, do bool
		wantAD     bool
	}{
		{"nothing is wanted", false, false, false, false},
		{"AD asks for the upstream's opinion", true, false, false, true},
		{"and so does DO", false, false, true, true},
		{"CD is passed on", false, true, false, false},
		{"all of them", true, true, true, true},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := newLAN(t, nil)
			l.remote.answer = signed
			for _, from := range []string{"the upstream", "the cache"} {
				got := l.exchange(tv, wants("www.node.example", dns.TypeA, tt.ad, tt.cd, tt.do))
				if got.AuthenticatedData != tt.wantAD || got.CheckingDisabled != tt.cd || got.IsEdns0().Do() != tt.do {
					t.Errorf("from %s: AD %t, CD %t, DO %t; want %t, %t, %t", from,
						got.AuthenticatedData, got.CheckingDisabled, got.IsEdns0().Do(), tt.wantAD, tt.cd, tt.do)
				}
				if signatures := len(got.Answer) - 1; signatures != 0 && !tt.do || signatures != 1 && tt.do {
					t.Errorf("from %s: the answer is %v; signatures are for those who set DO", from, got.Answer)
				}
			}
			if q := l.remote.questions(); len(q) != 1 || q[0].CD != tt.cd || q[0].DO != tt.do {
				t.Errorf("the upstream was asked %+v, want CD %t and DO %t, once", q, tt.cd, tt.do)
			}
		})
	}
}

func TestWhatWeSayOfOurselvesIsNeverAuthentic(t *testing.T) {
	l := newLAN(t, func(p *Plan) { p.Config.Canaries = true })
	for name, qtype := range map[string]uint16{
		"www.node.example": dns.TypeA, "ftp.node.example": dns.TypeHTTPS, "www.blocked.example": dns.TypeA, "nas.lan": dns.TypeA,
		"a.onion": dns.TypeA, "mask.icloud.com": dns.TypeA, "ipv4only.arpa": dns.TypeA, "any.example": dns.TypeANY,
	} {
		if got := l.exchange(laptop, wants(name, qtype, true, true, true)); got.AuthenticatedData {
			t.Errorf("the answer for %s has AD set", name)
		}
	}
	l.unasked()
}

func TestAnAnswerThatWasChangedIsNotAuthentic(t *testing.T) {
	l := newLAN(t, nil)
	l.remote.answer = func(m *dns.Msg, q upstreamQuestion) {
		signed(m, q)
		m.Answer = append(m.Answer, record(q.Name+". 300 IN A 192.168.1.1"))
	}
	if got := l.exchange(tv, wants("www.node.example", dns.TypeA, true, false, true)); got.AuthenticatedData {
		t.Error("an address was taken out, and yet the answer has AD set")
	}
}

// RFC 3597: what looks like a compressed name in data of an unknown type is none.
func TestDataOfAnUnknownTypeIsNotTouched(t *testing.T) {
	data := []byte("\xc0\x0c\x03WwW\x04nOdE\x00\xff\xc0\x00")
	l := newLAN(t, nil)
	l.remote.answer = func(m *dns.Msg, q upstreamQuestion) {
		m.Answer = []dns.RR{&dns.RFC3597{
			Hdr:   dns.RR_Header{Name: q.Name + ".", Rrtype: q.Type, Class: dns.ClassINET, Ttl: 300},
			Rdata: "c00c03577757046e4f644500ffc000",
		}}
	}
	m := new(dns.Msg)
	m.SetQuestion("www.node.example.", 65400)
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range []netip.Addr{laptop, laptop, tv} { // of a faked name, from the cache, of a real one
		reply, err := l.answer(t.Context(), new(question), raw, client, 0)
		if err != nil || !bytes.HasSuffix(reply, data) {
			t.Errorf("%s was answered %x (%v), want it to end with %x", client, reply, err, data)
		}
	}
}

func TestExtendedErrorsSayWhatIsNotTrue(t *testing.T) {
	l := newLAN(t, func(p *Plan) { p.Config.IPv6 = false })
	l.remote.answer = says("@ 300 IN A 192.168.1.1").answer
	for _, tt := range []struct {
		sentence, name string
		client         netip.Addr
		qtype          uint16
		want           int
	}{
		{"a fake address", "www.node.example", laptop, dns.TypeA, 4},
		{"records withheld from a faked name", "www.node.example", laptop, dns.TypeHTTPS, 4},
		{"IPv6 withheld", "www.node.example", tv, dns.TypeAAAA, 4},
		{"a name that is blocked", "blocked.example", tv, dns.TypeA, 15},
		{"a private address taken out", "rebinding.example", tv, dns.TypeA, 17},
	} {
		t.Run(tt.sentence, func(t *testing.T) { l.wantEDE(l.ask(tt.client, tt.name, tt.qtype), tt.want) })
	}
}
