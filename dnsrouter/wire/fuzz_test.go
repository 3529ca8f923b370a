package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/miekg/dns"
)

// FuzzQuery: no packet of a client does harm; what is accepted is read as
// another library reads it, and its reply is well-formed.
func FuzzQuery(f *testing.F) {
	f.Add(packed(f, "www.example.com", dns.TypeA, nil))
	f.Add(packed(f, `a\.b.\000.example`, dns.TypeHTTPS, func(m *dns.Msg) { m.SetEdns0(4096, true) }))
	f.Add(packed(f, ".", dns.TypeNS, func(m *dns.Msg) { m.CheckingDisabled = true }))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q wire.Query
		err := q.Parse(msg)
		if err == wire.ErrIgnore {
			return
		}
		r := wire.NewReply(nil, msg, &q, wire.RcodeServFail)
		reply := r.Finish(q.Limit())
		if len(reply) > 512 {
			t.Errorf("an empty reply has %d octets", len(reply))
		}
		var theirs dns.Msg
		if theirs.Unpack(reply) != nil {
			t.Errorf("the reply % x is not read by others", reply)
		}
		if err != nil || theirs.Unpack(msg) != nil || len(theirs.Question) != 1 {
			return
		}
		theirName := strings.ToLower(string(theirWire(t, theirs.Question[0].Name)))
		ourName, err := wire.AppendName(nil, q.Name())
		if err != nil || strings.ToLower(string(ourName)) != theirName {
			t.Errorf("name is % x, %v, others read % x", ourName, err, theirName)
		}
		if q.ID != theirs.Id || q.Type != theirs.Question[0].Qtype || q.Class != theirs.Question[0].Qclass || q.EDNS != (theirs.IsEdns0() != nil) {
			t.Errorf("query is %+v, others read %v", q, theirs)
		}
	})
}

func theirWire(t *testing.T, name string) []byte {
	b := make([]byte, 300)
	n, err := dns.PackDomainName(name, b, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// FuzzResponse: no answer of an upstream does harm; what is left of one after
// scrubbing is well-formed, read by others who read the original, and stays as
// it is when scrubbed again.
func FuzzResponse(f *testing.F) {
	f.Add(response(f, "a.example", dns.TypeA, nil, "a.example. 60 IN CNAME b.example.", "b.example. 30 IN A 192.168.2.1", ";example. 5 IN NS a.example.", "+a.example. 5 IN A 192.0.2.1"))
	f.Add(response(f, "a.example", dns.TypeHTTPS, nil, `a.example. 5 IN HTTPS 1 . mandatory="alpn" alpn="h2" ipv4hint="10.0.0.1" ech="AAAA"`))
	f.Add(response(f, "x.example", dns.TypeANY, nil, "x.example. 5 IN MX 10 mail.example.", "x.example. 5 IN SRV 1 2 3 srv.example.",
		`x.example. 5 IN NAPTR 1 2 "s" "x" "" r.example.`, "x.example. 5 IN RP m.example. t.example.",
		"x.example. 5 IN RRSIG A 8 3 5 20300101000000 20200101000000 1 y.example. AAAA"))
	f.Add(response(f, "nx.example", dns.TypeA, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, ";example. 900 IN SOA ns.example. h.example. 1 2 3 4 300"))
	strict := wire.Filter{Drop: wire.IsPrivate, StripECH: true, StripHints: true, StripDNSSEC: true}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > wire.HeaderLen {
			wire.Validate(msg, msg, true)
		}
		r, err := wire.ParseResponse(msg)
		if err != nil {
			return
		}
		r.AppendAddrs(nil)
		if s, err := r.Scrub(nil, strict); err == nil {
			checkScrubbed(t, s)
		}
		s, err := r.Scrub([]byte("head"), wire.Filter{})
		if err != nil {
			return
		}
		checkScrubbed(t, s)
		var original, left dns.Msg
		if original.Unpack(msg) != nil {
			return
		}
		if err := left.Unpack(s.Msg); err != nil {
			t.Fatalf("others read the original, but not what is left: %v\n% x", err, s.Msg)
		}
		whole := texts(original.Answer)
		for text := range texts(left.Answer) {
			if !whole[text] {
				t.Errorf("%q is left of an answer that it was not in: %v", text, original.Answer)
			}
		}
	})
}

// texts are records but for their TTL and letter case.
func texts(records []dns.RR) map[string]bool {
	set := make(map[string]bool)
	for _, rr := range records {
		rr.Header().Ttl = 0
		set[strings.ToLower(rr.String())] = true
	}
	return set
}

func checkScrubbed(t *testing.T, s wire.Scrubbed) {
	t.Helper()
	r, err := wire.ParseResponse(s.Msg)
	if err != nil {
		t.Fatalf("what is left is malformed: % x", s.Msg)
	}
	var offsets []uint16
	for rr := range r.Records {
		if rr.Section == wire.Additional {
			t.Error("a record of the additional section is left")
		}
		offsets = append(offsets, uint16(rr.TTLAt))
	}
	if got, want := string(u16s(s.TTLs)), string(u16s(offsets)); got != want {
		t.Errorf("TTLs are at % x, want % x", got, want)
	}
	again, err := r.Scrub(nil, wire.Filter{})
	if err != nil || !bytes.Equal(again.Msg, s.Msg) {
		t.Errorf("scrubbed twice: % x, %v\nonce: % x", again.Msg, err, s.Msg)
	}
}

func u16s(v []uint16) (b []byte) {
	for _, x := range v {
		b = append(b, byte(x>>8), byte(x))
	}
	return b
}
