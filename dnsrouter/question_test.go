package dnsrouter

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// message is a question on the wire that a test can spoil: flags, the four
// counts, and what stands behind the header.
func message(flags uint16, counts [4]uint16, body string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xab, 0xcd}, flags)
	for _, n := range counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return append(b, body...)
}

const (
	recursion = 0x0100
	asked     = "\x03www\x04node\x07example\x00\x00\x01\x00\x01"
	option    = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	optionV1  = "\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"
)

func TestAMalformedQuestionIsAnsweredByTheRFCsAndNotSentOn(t *testing.T) {
	const silence = -1
	one := [4]uint16{1, 0, 0, 0}
	for _, tt := range []struct {
		sentence string
		msg      []byte
		want     int
	}{
		{"nothing at all", nil, silence},
		{"half a header", []byte{0xab, 0xcd, 1, 0, 0, 1}, silence},
		{"a response", message(0x8000|recursion, one, asked), silence},
		{"no question", message(recursion, [4]uint16{}, ""), dns.RcodeFormatError},
		{"two questions", message(recursion, [4]uint16{2, 0, 0, 0}, asked+asked), dns.RcodeFormatError},
		{"a question that is announced only", message(recursion, one, ""), dns.RcodeFormatError},
		{"a name that is its own end", message(recursion, one, "\xc0\x0c\x00\x01\x00\x01"), dns.RcodeFormatError},
		{"a name that points at a loop", message(recursion, one, "\x03www\xc0\x0c\x00\x01\x00\x01"), dns.RcodeFormatError},
		{"a name that points forward", message(recursion, one, "\xc0\x20\x00\x01\x00\x01"), dns.RcodeFormatError},
		{"a label of no known kind", message(recursion, one, "\x80www\x00\x00\x01\x00\x01"), dns.RcodeFormatError},
		{"a name of 256 octets", message(recursion, one, strings.Repeat("\x1faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 8)+"\x00\x00\x01\x00\x01"), dns.RcodeFormatError},
		{"octets behind the end", message(recursion, one, asked+"x"), dns.RcodeFormatError},
		{"a record that is announced only", message(recursion, [4]uint16{1, 0, 0, 1}, asked), dns.RcodeFormatError},
		{"two OPT records", message(recursion, [4]uint16{1, 0, 0, 2}, asked+option+option), dns.RcodeFormatError},
		{"an OPT record among the answers", message(recursion, [4]uint16{1, 1, 0, 0}, asked+option), dns.RcodeFormatError},
		{"EDNS version 1", message(recursion, [4]uint16{1, 0, 0, 1}, asked+optionV1), dns.RcodeBadVers},
		{"an inverse query", message(1<<11|recursion, one, asked), dns.RcodeNotImplemented},
		{"a status request", message(2<<11, one, asked), dns.RcodeNotImplemented},
		{"a notification", message(4<<11, one, asked), dns.RcodeNotImplemented},
		{"an update", message(5<<11, one, asked), dns.RcodeNotImplemented},
		{"no recursion wanted", message(0, one, asked), dns.RcodeRefused},
		{"a transfer", message(recursion, one, strings.Replace(asked, "\x00\x00\x01", "\x00\x00\xfc", 1)), dns.RcodeRefused},
		{"an incremental transfer", message(recursion, one, strings.Replace(asked, "\x00\x00\x01", "\x00\x00\xfb", 1)), dns.RcodeRefused},
		{"type 0", message(recursion, one, strings.Replace(asked, "\x00\x00\x01", "\x00\x00\x00", 1)), dns.RcodeRefused},
		{"type OPT", message(recursion, one, strings.Replace(asked, "\x00\x00\x01", "\x00\x00\x29", 1)), dns.RcodeRefused},
		{"class CHAOS", message(recursion, one, "\x07version\x04bind\x00\x00\x10\x00\x03"), dns.RcodeRefused},
		{"class ANY", message(recursion, one, strings.TrimSuffix(asked, "\x00\x01")+"\x00\xff"), dns.RcodeRefused},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := newLAN(t, nil)
			reply, err := l.answer(t.Context(), new(question), tt.msg, tv, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := silence
			if reply != nil {
				got = rcodeOf(t, reply)
			}
			if got != tt.want {
				t.Errorf("rcode = %d, want %d; the reply is %x", got, tt.want, reply)
			}
			l.unasked()
			if got, want := l.Status().Refused, int64(1); tt.want != silence && got != want {
				t.Errorf("%d counted as refused, want %d", got, want)
			}
		})
	}
}

// rcodeOf is the response code with its upper bits, of a reply whose question
// may be missing.
func rcodeOf(t *testing.T, reply []byte) int {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("the reply %x: %v", reply, err)
	}
	if m.Id != 0xabcd || !m.Response {
		t.Errorf("the reply has id %x, response %t", m.Id, m.Response)
	}
	return m.Rcode
}

func TestAnyIsAnsweredWithTheLeast(t *testing.T) {
	l := newLAN(t, nil)
	got := l.ask(tv, "www.node.example", dns.TypeANY)
	if len(got.Answer) != 1 || got.Answer[0].Header().Rrtype != dns.TypeHINFO {
		t.Errorf("answer = %v, want the HINFO record of RFC 8482", got.Answer)
	}
	l.unasked()
}

func TestAReplyHasNoMoreOctetsThanTheClientCanReceive(t *testing.T) {
	var many []string
	for range 60 {
		many = append(many, "@ 300 IN TXT \"0123456789\"")
	}
	for i := range many { // records that are equal would be one
		many[i] = strings.Replace(many[i], "0123456789", strings.Repeat("x", i+1), 1)
	}
	for _, tt := range []struct {
		sentence string
		size     uint16 // of the client's EDNS; 0: none
		limit    int    // 0: over UDP
		most     int
		cut      bool
	}{
		{"512 without EDNS", 0, 0, 512, true},
		{"never less", 100, 0, 512, true},
		{"what the client says", 1000, 0, 1000, true},
		{"but what passes without fragments", 65535, 0, 1232, true},
		{"all over TCP", 0, 65535, 65535, false},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			l := newLAN(t, nil)
			l.remote.answer = says(many...).answer
			m := new(dns.Msg)
			m.SetQuestion("www.node.example.", dns.TypeTXT)
			if tt.size > 0 {
				m.SetEdns0(tt.size, false)
			}
			raw, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			for _, from := range []string{"the upstream", "the cache"} {
				reply, err := l.answer(t.Context(), new(question), raw, tv, tt.limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(reply) > tt.most {
					t.Errorf("from %s: %d octets, want at most %d", from, len(reply), tt.most)
				}
				got := new(dns.Msg)
				if err := got.Unpack(reply); err != nil {
					t.Fatal(err)
				}
				if got.Truncated != tt.cut || !tt.cut && len(got.Answer) != len(many) {
					t.Errorf("from %s: truncated %t with %d records, want %t", from, got.Truncated, len(got.Answer), tt.cut)
				}
				if (got.IsEdns0() != nil) != (tt.size > 0) {
					t.Errorf("from %s: the reply has an OPT record: %t; the question: %t", from, got.IsEdns0() != nil, tt.size > 0)
				}
			}
		})
	}
}
