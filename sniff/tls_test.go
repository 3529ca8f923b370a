package sniff

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

// vec is data preceded by its length in n bytes.
func vec(n int, data ...[]byte) []byte {
	b := bytes.Join(data, nil)
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(b)))
	return append(length[8-n:], b...)
}

// ext is one extension of a hello.
func ext(kind uint16, data ...[]byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, kind), vec(2, data...)...)
}

// sni is the server_name extension with one host name.
func sni(name string) []byte {
	return ext(extServerName, vec(2, []byte{serverNameHost}, vec(2, []byte(name))))
}

// hello is a ClientHello, as small as can be, with extensions.
func hello(extensions ...[]byte) []byte {
	return message(vec(2, extensions...))
}

// message is a handshake message of a ClientHello that ends with tail.
func message(tail []byte) []byte {
	body := bytes.Join([][]byte{{3, 3}, make([]byte, 32), vec(1), vec(2, []byte{0x13, 0x01}), vec(1, []byte{0}), tail}, nil)
	return append([]byte{messageClientHello}, vec(3, body)...)
}

// record is a handshake record.
func record(fragment []byte) []byte {
	return append([]byte{recordHandshake, 3, 1}, vec(2, fragment)...)
}

// inRecords cuts the fragment of the only record in b, if it is one, in
// records of n bytes.
func inRecords(b []byte, n int) []byte {
	if b[0] != recordHandshake || len(b) < recordHeader {
		return b
	}
	var out []byte
	for b = b[recordHeader:]; len(b) > 0; {
		k := min(n, len(b))
		out = append(out, record(b[:k])...)
		b = b[k:]
	}
	return out
}

// helloOfLength is a hello for pad.example whose body has n bytes.
func helloOfLength(n int) []byte {
	base := len(hello(sni("pad.example"), ext(21))) - messageHeader
	return hello(sni("pad.example"), ext(21, make([]byte, n-base)))
}

func TestHelloIsReadFromRecordsOfAnySize(t *testing.T) {
	for _, e := range corpus(t, "stream") {
		if e.want.Protocol != policy.TLS || e.name == "openssl-fragments" {
			continue
		}
		for _, n := range []int{1, 2, 3, 4, 5, 37, 512, 1400} {
			b := inRecords(e.parts[0], n)
			if len(b) > MaxStream {
				continue
			}
			if got, err := Stream(b); got != e.want || err != nil {
				t.Errorf("%s in records of %d bytes: Stream = %+v, %v, want %+v", e.name, n, got, err, e.want)
			}
			if len(b) < 4096 {
				checkPrefixes(t, e.name, b)
			}
		}
	}
}

func TestHelloOf16KiBIsRead(t *testing.T) {
	want := Result{Protocol: policy.TLS, Host: "pad.example"}
	b := helloOfLength(maxHello - messageHeader)
	if len(b) != maxHello {
		t.Fatalf("got a hello of %d bytes to try, want %d", len(b), maxHello)
	}
	for _, n := range []int{100, 1400, 16384} {
		if got, err := Stream(inRecords(record(b), n)); got != want || err != nil {
			t.Errorf("in records of %d bytes: Stream = %+v, %v, want %+v", n, got, err, want)
		}
	}
}

func TestHelloTellsNameAndECH(t *testing.T) {
	ech := ext(extECH, []byte{echOuter}, make([]byte, 40))
	tests := []struct {
		name  string
		hello []byte
		want  Result
	}{
		{"a name", hello(sni("www.example.com")), Result{Protocol: policy.TLS, Host: "www.example.com"}},
		{"a name in capitals with a dot", hello(sni("WWW.Example.COM.")), Result{Protocol: policy.TLS, Host: "www.example.com"}},
		{"a name after others", hello(ext(0x0a0a), ext(43, []byte{2, 3, 4}), sni("x.example")), Result{Protocol: policy.TLS, Host: "x.example"}},
		{"an outer ECH extension", hello(sni("public.example"), ech), Result{Protocol: policy.TLS, Host: "public.example", ECH: true}},
		{"an outer ECH extension first", hello(ech, sni("public.example")), Result{Protocol: policy.TLS, Host: "public.example", ECH: true}},
		{"an inner ECH extension", hello(sni("x.example"), ext(extECH, []byte{1})), Result{Protocol: policy.TLS, Host: "x.example"}},
		{"an empty ECH extension", hello(sni("x.example"), ext(extECH)), Result{Protocol: policy.TLS, Host: "x.example"}},
		{"an IPv4 address for a name", hello(sni("192.0.2.1")), Result{Protocol: policy.TLS}},
		{"an IPv6 address for a name", hello(sni("2001:db8::1")), Result{Protocol: policy.TLS}},
		{"no host name", hello(sni("a b")), Result{Protocol: policy.TLS}},
		{"an empty name", hello(sni("")), Result{Protocol: policy.TLS}},
		{"a name of another type", hello(ext(extServerName, vec(2, []byte{7}, vec(2, []byte("x"))))), Result{Protocol: policy.TLS}},
		{"two names", hello(sni("first.example"), sni("second.example")), Result{Protocol: policy.TLS, Host: "first.example"}},
		{"no extensions", hello(), Result{Protocol: policy.TLS}},
		{"no extension block", message(nil), Result{Protocol: policy.TLS}},
	}
	for _, tt := range tests {
		if got, err := Stream(record(tt.hello)); got != tt.want || err != nil {
			t.Errorf("%s: Stream = %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
		checkPrefixes(t, tt.name, record(tt.hello))
	}
}

func TestMalformedHelloIsUnknown(t *testing.T) {
	good := hello(sni("www.example.com"))
	body := func(parts ...[]byte) []byte {
		return append([]byte{messageClientHello}, vec(3, parts...)...)
	}
	suites, compression, none := vec(2, []byte{0x13, 0x01}), vec(1, []byte{0}), vec(1)
	start := append([]byte{3, 3}, make([]byte, 32)...)
	tests := []struct {
		name string
		b    []byte
	}{
		{"another record type", append([]byte{23}, record(good)[1:]...)},
		{"an alert between the fragments", append(record(good[:10]), 21, 3, 3, 0, 2, 1, 0)},
		{"an empty fragment", append(record(good[:10]), record(nil)...)},
		{"a fragment that is too long", append([]byte{recordHandshake, 3, 1, 0x40, 0x01}, good...)},
		{"SSL 2", append([]byte{recordHandshake, 2}, record(good)[2:]...)},
		{"a server's hello", record(append([]byte{2}, good[1:]...))},
		{"a hello of 16 MiB", record([]byte{messageClientHello, 0xff, 0xff, 0xff})},
		{"an empty hello", record(body())},
		{"a long session id", record(body(start, vec(1, make([]byte, 33)), suites, compression))},
		{"no cipher suites", record(body(start, none, vec(2), compression))},
		{"half a cipher suite", record(body(start, none, vec(2, []byte{1, 2, 3}), compression))},
		{"no compression method", record(body(start, none, suites, none))},
		{"extensions that end early", record(message(append(vec(2, sni("x.example")), 0)))},
		{"extensions that end late", record(message([]byte{0, 9, 0, 0}))},
		{"an extension that ends late", record(hello([]byte{0, 43, 0, 9, 1}))},
		{"a name list that ends late", record(hello(ext(extServerName, []byte{0, 9, 0})))},
		{"a name that ends late", record(hello(ext(extServerName, vec(2, []byte{0, 0, 9, 'x'}))))},
		{"bytes behind the name list", record(hello(ext(extServerName, vec(2, []byte{0}, vec(2, []byte("x.example"))), []byte{0})))},
	}
	for _, tt := range tests {
		if got, err := Stream(tt.b); got != (Result{}) || err != nil {
			t.Errorf("%s: Stream = %+v, %v, want the zero Result, final", tt.name, got, err)
		}
		checkPrefixes(t, tt.name, tt.b)
	}
}
