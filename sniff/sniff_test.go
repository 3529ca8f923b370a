package sniff

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestStreamTellsEveryClientOfTheCorpus(t *testing.T) {
	for _, e := range corpus(t, "stream") {
		got, err := Stream(e.parts[0])
		if got != e.want || err != nil {
			t.Errorf("%s: Stream = %+v, %v, want %+v", e.name, got, err, e.want)
		}
	}
}

// checkPrefixes fails unless every prefix of b has ErrMore with the zero
// Result or the answer that all longer ones have.
func checkPrefixes(t *testing.T, name string, b []byte) {
	t.Helper()
	final, got := false, Result{}
	for n := range len(b) + 1 {
		res, err := Stream(b[:n:n])
		switch {
		case err != nil && err != ErrMore:
			t.Fatalf("%s: Stream of %d bytes: got error %v, want ErrMore or none", name, n, err)
		case err == ErrMore && (final || res != Result{}):
			t.Fatalf("%s: Stream of %d bytes = %+v, ErrMore, want %+v again, final", name, n, res, got)
		case err == ErrMore && n >= MaxStream:
			t.Fatalf("%s: Stream of %d bytes: got ErrMore, want an answer from MaxStream on", name, n)
		case err == nil && final && res != got:
			t.Fatalf("%s: Stream of %d bytes = %+v, want %+v as of a shorter prefix", name, n, res, got)
		case err == nil:
			final, got = true, res
		}
	}
}

func TestStreamOfEveryPrefixAsksForMoreOrAnswersTheSame(t *testing.T) {
	for _, e := range corpus(t, "stream") {
		checkPrefixes(t, e.name, e.parts[0])
	}
}

func TestStreamOfEveryPrefixOfMutatedBytesAsksForMoreOrAnswersTheSame(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, e := range corpus(t, "stream") {
		if len(e.parts[0]) > 4096 {
			continue // its prefixes alone take a second
		}
		for range 20 {
			b := append(bytes.Clone(e.parts[0]), e.parts[0]...)
			for range 1 + rnd.IntN(3) {
				b[rnd.IntN(min(len(b), 200))] = byte(rnd.Uint32())
			}
			checkPrefixes(t, e.name+" mutated", b)
		}
	}
}

func TestStreamDoesNotChangeItsBytes(t *testing.T) {
	for _, e := range corpus(t, "stream") {
		b := inRecords(e.parts[0], 100)
		before := bytes.Clone(b)
		if _, err := Stream(b); err != nil || !bytes.Equal(b, before) {
			t.Errorf("%s: Stream: got error %v and unchanged bytes %v, want none and true", e.name, err, bytes.Equal(b, before))
		}
	}
}

func TestStreamNeverAsksForMoreThanMaxStream(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want Result
	}{
		{"a hello in records of one byte", inRecords(record(helloOfLength(maxHello-messageHeader)), 1), Result{}},
		{"a hello of more than maxHello", inRecords(record(helloOfLength(maxHello)), 60), Result{}},
		{"a request line without an end", []byte("GET /" + strings.Repeat("x", MaxStream)), Result{}},
		{"fields without a Host and without an end", []byte("GET / HTTP/1.1\r\n" + strings.Repeat("X-Y: z\r\n", MaxStream/8)), Result{Protocol: policy.HTTP}},
		{"a field without an end", []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("y", MaxStream)), Result{Protocol: policy.HTTP}},
		{"zeros", make([]byte, MaxStream), Result{}},
	}
	for _, tt := range tests {
		if len(tt.b) < MaxStream {
			t.Fatalf("%s: got %d bytes to try, want at least MaxStream", tt.name, len(tt.b))
		}
		for _, n := range []int{MaxStream, len(tt.b)} {
			if got, err := Stream(tt.b[:n]); got != tt.want || err != nil {
				t.Errorf("%s: Stream of %d bytes = %+v, %v, want %+v", tt.name, n, got, err, tt.want)
			}
		}
	}
}

func TestStreamTellsProtocolsByTheirFirstBytes(t *testing.T) {
	query := "\x00\x1d" + dnsQuery("example.com")
	tests := []struct {
		name, b string
		want    policy.Protocol
		wantErr error
	}{
		{"nothing yet", "", 0, ErrMore},
		{"an SSH banner", "SSH-2.0-OpenSSH_9.9\r\n", policy.SSH, nil},
		{"the beginning of an SSH banner, or of SEARCH", "S", 0, ErrMore},
		{"another word with S", "SITE", 0, nil},
		{"a BitTorrent handshake", "\x13BitTorrent protocol\x00\x00\x00\x00", policy.BitTorrent, nil},
		{"half a BitTorrent handshake", "\x13BitTorrent", 0, ErrMore},
		{"HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", policy.HTTP, nil},
		{"a DNS query over TCP", query, policy.DNS, nil},
		{"a DNS query over TCP but for its last byte", query[:len(query)-1], 0, ErrMore},
		{"a DNS query with a wrong length", "\x00\x1c" + query[2:], 0, nil},
		{"a length no query has", "\x00\x05" + query[2:], 0, nil},
		{"random bytes", "\x8a\x11\xfe", 0, nil},
		{"a Redis command", "*1\r\n$4\r\nPING\r\n", 0, nil},
		{"an SMTP greeting", "EHLO example.com\r\n", 0, nil},
		{"a PostgreSQL start-up message", "\x00\x00\x00\x08\x04\xd2\x16\x2f......", 0, nil},
	}
	for _, tt := range tests {
		got, err := Stream([]byte(tt.b))
		if want := (Result{Protocol: tt.want}); got != want || err != tt.wantErr {
			t.Errorf("%s: Stream(%q) = %+v, %v, want %+v, %v", tt.name, tt.b, got, err, want, tt.wantErr)
		}
	}
}
