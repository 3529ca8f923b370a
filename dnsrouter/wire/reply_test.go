package wire_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/miekg/dns"
)

// parsed is a query and its packet.
func parsed(t testing.TB, msg []byte) *wire.Query {
	t.Helper()
	q := new(wire.Query)
	if err := q.Parse(msg); err != nil {
		t.Fatalf("parsing query: %v", err)
	}
	return q
}

// unpacked is a reply as another library reads it.
func unpacked(t testing.TB, msg []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("unpacking reply: %v", err)
	}
	return m
}

func TestAReplyIsReadByOthers(t *testing.T) {
	msg := packed(t, "WwW.example.com", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1400, true); m.CheckingDisabled = true })
	q := parsed(t, msg)
	r := wire.NewReply([]byte("xx"), msg, q, wire.RcodeSuccess)
	r.Authoritative()
	if err := r.CNAME(60, "target.example.net"); err != nil {
		t.Fatal(err)
	}
	r.Addr(30, netip.MustParseAddr("198.18.0.7"))
	r.Addr(30, netip.MustParseAddr("2001:2::7"))
	r.Record(wire.TypeTXT, 5, []byte("\x03one\x03two"))
	if err := r.PTR(9, "host.lan"); err != nil {
		t.Fatal(err)
	}
	r.EDE(wire.EDEStale, "old")
	got := unpacked(t, r.Finish(q.Limit())[2:])

	want := []string{
		"WwW.example.com.	60	IN	CNAME	target.example.net.",
		"target.example.net.	30	IN	A	198.18.0.7",
		"target.example.net.	30	IN	AAAA	2001:2::7",
		`target.example.net.	5	IN	TXT	"one" "two"`,
		"target.example.net.	9	IN	PTR	host.lan.",
	}
	for i, rr := range got.Answer {
		if rr.String() != want[i] {
			t.Errorf("record %d = %q, want %q", i, rr, want[i])
		}
	}
	if len(got.Answer) != len(want) {
		t.Errorf("%d records, want %d", len(got.Answer), len(want))
	}
	if got.Id != 0x1234 || !got.Response || !got.Authoritative || !got.RecursionDesired || !got.RecursionAvailable ||
		!got.CheckingDisabled || got.AuthenticatedData || got.Truncated || got.Question[0].Name != "WwW.example.com." {
		t.Errorf("header is %v", got)
	}
	opt := got.IsEdns0()
	if opt == nil || opt.UDPSize() != 1232 || !opt.Do() || opt.Option[0].(*dns.EDNS0_EDE).ExtraText != "old" {
		t.Errorf("OPT is %v", opt)
	}
}

func TestANegativeReplyHasASOA(t *testing.T) {
	msg := packed(t, "nx.example", dns.TypeA, nil)
	r := wire.NewReply(nil, msg, parsed(t, msg), wire.RcodeNXDomain)
	r.Negative(10)
	got := unpacked(t, r.Finish(512))
	want := "nx.example.	10	IN	SOA	fairlead.invalid. hostmaster.fairlead.invalid. 1 1800 900 604800 10"
	if got.Rcode != dns.RcodeNameError || len(got.Ns) != 1 || got.Ns[0].String() != want {
		t.Errorf("reply is %v, want SOA %q", got, want)
	}
	if got.IsEdns0() != nil {
		t.Error("a client without EDNS got an OPT record")
	}
}

func TestWrongQueriesGetTheirRcode(t *testing.T) {
	notify := packed(t, "example", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })
	none := packed(t, "example", dns.TypeA, func(m *dns.Msg) { m.Question = nil })
	version := packed(t, "example", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) })
	tests := []struct {
		name      string
		msg       []byte
		rcode     uint16
		questions int
	}{
		{"an unknown opcode gets NOTIMP and keeps it", notify, wire.RcodeNotImpl, 0},
		{"no question gets FORMERR", none, wire.RcodeFormat, 0},
		{"an unknown version gets BADVERS", version, wire.RcodeBadVers, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var q wire.Query
			if q.Parse(tt.msg) == nil {
				t.Fatal("the query was accepted")
			}
			r := wire.NewReply(nil, tt.msg, &q, tt.rcode)
			got := unpacked(t, r.Finish(512))
			if got.Rcode != int(tt.rcode) || got.Opcode != int(q.Opcode) || len(got.Question) != tt.questions {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestALongReplyIsCutToItsQuestion(t *testing.T) {
	msg := packed(t, "many.example", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(512, false) })
	q := parsed(t, msg)
	r := wire.NewReply(nil, msg, q, wire.RcodeSuccess)
	for i := range 100 {
		r.Addr(1, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	r.EDE(0, strings.Repeat("e", 500))
	b := r.Finish(q.Limit())
	got := unpacked(t, b)
	if !got.Truncated || len(got.Answer) != 0 || len(got.Question) != 1 || got.IsEdns0() == nil || len(b) > 512 {
		t.Errorf("got %d octets: %v", len(b), got)
	}
}

func TestAStoredAnswerBecomesTheClientsOwn(t *testing.T) {
	stored := scrubbed(t, response(t, "a.example", dns.TypeA, func(m *dns.Msg) { m.AuthenticatedData = true },
		"a.example. 60 IN CNAME b.example.", "b.example. 60 IN A 192.0.2.1"), wire.Filter{})
	tests := []struct {
		name   string
		change func(*dns.Msg)
		ad     bool
	}{
		{"AD is not shown to those who did not ask", func(m *dns.Msg) { m.RecursionDesired = false }, false},
		{"AD is shown to those who set it", func(m *dns.Msg) { m.AuthenticatedData = true }, true},
		{"AD is shown to those who set DO", func(m *dns.Msg) { m.SetEdns0(1232, true) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := packed(t, "A.eXample", dns.TypeA, tt.change)
			q := parsed(t, msg)
			r, err := wire.FromStored([]byte{0, 0}, stored.Msg, msg, q)
			if err != nil {
				t.Fatal(err)
			}
			got := unpacked(t, r.Finish(512)[2:])
			if got.AuthenticatedData != tt.ad {
				t.Errorf("AD = %v, want %v", got.AuthenticatedData, tt.ad)
			}
			if got.Id != q.ID || got.RecursionDesired != q.RD || (got.IsEdns0() != nil) != q.EDNS {
				t.Errorf("header is not the client's: %v", got)
			}
			if len(got.Answer) != 2 || got.Answer[0].Header().Name != "A.eXample." || got.Answer[1].Header().Name != "b.eXample." {
				t.Errorf("answer is %v", got.Answer)
			}
		})
	}
}

func TestAStoredAnswerForAnotherNameIsRefused(t *testing.T) {
	stored := scrubbed(t, response(t, "a.example", dns.TypeA, nil, "a.example. 60 IN A 192.0.2.1"), wire.Filter{})
	for _, msg := range [][]byte{
		packed(t, "b.example", dns.TypeA, nil),
		packed(t, "a.example", dns.TypeAAAA, nil),
		packed(t, "a.example.org", dns.TypeA, nil),
	} {
		if _, err := wire.FromStored(nil, stored.Msg, msg, parsed(t, msg)); err != wire.ErrReply {
			t.Errorf("FromStored = %v, want %v", err, wire.ErrReply)
		}
	}
}

func TestTheHotPathDoesNotAllocate(t *testing.T) {
	msg := packed(t, "www.example.com", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) })
	stored := scrubbed(t, response(t, "www.example.com", dns.TypeA, nil, "www.example.com. 60 IN A 192.0.2.1"), wire.Filter{})
	addr := netip.MustParseAddr("198.18.0.1")
	buf := make([]byte, 0, 1500)
	q := new(wire.Query)

	fake := testing.AllocsPerRun(100, func() {
		if err := q.Parse(msg); err != nil {
			t.Fatal(err)
		}
		r := wire.NewReply(buf, msg, q, wire.RcodeSuccess)
		r.Addr(1, addr)
		r.Finish(q.Limit())
	})
	cached := testing.AllocsPerRun(100, func() {
		r, err := wire.FromStored(buf, stored.Msg, msg, q)
		if err != nil {
			t.Fatal(err)
		}
		r.Finish(q.Limit())
	})
	if fake != 0 || cached != 0 {
		t.Errorf("a fake answer allocates %v times and a cached one %v times, want 0", fake, cached)
	}
}

func BenchmarkFakeAnswer(b *testing.B) {
	msg := packed(b, "www.example.com", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) })
	addr := netip.MustParseAddr("198.18.0.1")
	buf := make([]byte, 0, 1500)
	q := new(wire.Query)
	b.ReportAllocs()
	for b.Loop() {
		if err := q.Parse(msg); err != nil {
			b.Fatal(err)
		}
		r := wire.NewReply(buf, msg, q, wire.RcodeSuccess)
		r.Addr(1, addr)
		r.Finish(q.Limit())
	}
}
