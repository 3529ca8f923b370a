package sniff

import (
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

// dnsQuery is a query for the addresses of name.
func dnsQuery(name string) string {
	b := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label != "" {
			b += string(vec(1, []byte(label)))
		}
	}
	return b + "\x00\x00\x01\x00\x01"
}

// patch is s with the byte at i replaced.
func patch(s string, i int, c byte) string {
	return s[:i] + string([]byte{c}) + s[i+1:]
}

func TestDatagramTellsProtocols(t *testing.T) {
	query := dnsQuery("example.com")
	opt := "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	stun := "\x00\x01\x00\x08\x21\x12\xa4\x42" + "transactions" + "\x80\x22\x00\x04pion"
	syn := "\x41\x00\x12\x34" + "\x01\x02\x03\x04" + "\x00\x00\x00\x00" + "\x00\x10\x00\x00" + "\x00\x01\x00\x00"
	ping := "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"
	tracker := "\x00\x00\x04\x17\x27\x10\x19\x80" + "\x00\x00\x00\x00" + "abcd"
	tests := []struct {
		name, b string
		want    policy.Protocol
	}{
		{"a DNS query", query, policy.DNS},
		{"a DNS query for the root", dnsQuery("."), policy.DNS},
		{"a DNS query with an OPT record", patch(query, 11, 1) + opt, policy.DNS},
		{"a DNS query of class CHAOS", patch(query, len(query)-1, 3), policy.DNS},
		{"a DNS answer", patch(query, 2, 0x81), 0},
		{"a DNS update", patch(query, 2, 0x29), 0},
		{"a DNS query with two questions", patch(query, 5, 2), 0},
		{"a DNS query with an answer", patch(query, 7, 1), 0},
		{"a DNS query that says it has more", patch(query, 11, 1), 0},
		{"a DNS query with bytes behind it", query + "\x00", 0},
		{"a DNS query of no class", patch(query, len(query)-1, 9), 0},
		{"a DNS query with a pointer", patch(query, 12, 0xc0), 0},
		{"a DNS query with a long name", dnsQuery(strings.Repeat("abcdefg.", 33) + "x"), 0},
		{"a DNS header", query[:12], 0},
		{"a STUN binding request", stun, policy.STUN},
		{"a STUN message of another length", stun + "\x00", 0},
		{"a STUN message without the cookie", patch(stun, 4, 0), 0},
		{"a uTP SYN", syn, policy.BitTorrent},
		{"a uTP SYN with an extension", patch(syn, 1, 2) + "\x00\x0812345678", policy.BitTorrent},
		{"a uTP SYN with half an extension", patch(syn, 1, 2) + "\x00\x081234", 0},
		{"a uTP SYN with bytes behind it", syn + "x", 0},
		{"a uTP SYN that acknowledges", patch(syn, 19, 1), 0},
		{"a DHT ping", ping, policy.BitTorrent},
		{"a DHT answer", "d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re", 0},
		{"a request to a tracker", tracker, policy.BitTorrent},
		{"an announcement to a tracker", patch(tracker, 11, 1), 0},
		{"nothing", "", 0},
		{"text", "hello, world, this is a datagram", 0},
		{"zeros", strings.Repeat("\x00", 64), 0},
	}
	for _, tt := range tests {
		if got, want := Datagram([]byte(tt.b)), (Result{Protocol: tt.want}); got != want {
			t.Errorf("%s: Datagram(%q) = %+v, want %+v", tt.name, tt.b, got, want)
		}
	}
}

func TestDatagramDoesNotTellQUIC(t *testing.T) {
	for _, e := range corpus(t, "quic") {
		if got := Datagram(e.parts[0]); got != (Result{}) {
			t.Errorf("%s: Datagram = %+v, want the zero Result", e.name, got)
		}
	}
}
