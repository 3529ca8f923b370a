package sniff

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func FuzzStream(f *testing.F) {
	for _, e := range corpus(f, "stream") {
		f.Add(e.parts[0], uint16(len(e.parts[0])/2))
		f.Add(inRecords(e.parts[0], 50), uint16(7))
	}
	f.Add([]byte("SSH-2.0-x\r\n"), uint16(3))
	f.Add([]byte("\x00\x1d"+dnsQuery("example.com")), uint16(20))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		before := bytes.Clone(b)
		whole, wholeErr := Stream(b)
		if !bytes.Equal(b, before) {
			t.Fatal("Stream changed its bytes, want them as they were")
		}
		checkResult(t, whole, wholeErr)
		if wholeErr == ErrMore && (whole != Result{} || len(b) >= MaxStream) {
			t.Fatalf("Stream of %d bytes = %+v, ErrMore, want the zero Result and fewer bytes than MaxStream", len(b), whole)
		}
		n := min(int(cut), len(b))
		prefix, err := Stream(b[:n:n])
		if err != ErrMore && (prefix != whole || wholeErr != nil) {
			t.Fatalf("Stream of %d bytes = %+v, final, and of all %d %+v, %v, want the same", n, prefix, len(b), whole, wholeErr)
		}
	})
}

func FuzzDatagram(f *testing.F) {
	for _, e := range corpus(f, "quic") {
		f.Add(e.parts[0])
	}
	f.Add([]byte(dnsQuery("example.com")))
	f.Add([]byte("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"))
	f.Add([]byte("\x41\x02\x12\x34\x01\x02\x03\x04\x00\x00\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00\x00\x0812345678"))
	f.Add([]byte("\x00\x01\x00\x00\x21\x12\xa4\x42transactions"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		res := Datagram(b)
		if res.Host != "" || res.ECH || res.Protocol == policy.QUIC {
			t.Fatalf("Datagram = %+v, want no host, no ECH and not QUIC", res)
		}
		if res.Protocol != 0 && IsQUIC(b) {
			t.Fatalf("Datagram = %+v of a datagram that IsQUIC, want one of both", res)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("Datagram changed its bytes, want them as they were")
		}
	})
}

// FuzzQUIC adds datagrams as they are. Few mutations of one can be opened:
// FuzzQUICPayload looks behind the protection.
func FuzzQUIC(f *testing.F) {
	for _, e := range corpus(f, "quic") {
		f.Add(joined(e.parts...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q QUIC
		addChecked(t, &q, split(b))
	})
}

// FuzzQUICPayload adds datagrams whose packets have the payloads that are fuzzed.
func FuzzQUICPayload(f *testing.F) {
	whole := hello(sni("www.example.com"))
	f.Add(joined(cryptoFrame(0, whole)))
	f.Add(joined(cryptoFrame(30, whole[30:]), cryptoFrame(0, whole[:40])))
	f.Add(joined(cryptoFrame(10, whole[10:20]), []byte{frameAckECN, 0x40, 5, 0, 0, 2, 1, 2, 3, framePing}, cryptoFrame(0, whole)))
	f.Add(joined([]byte{frameConnectionClose, 0, 6, 2, 'n', 'o'}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var datagrams [][]byte
		for i, payload := range split(b) {
			p := initialPacket{version: version1, dcid: testID, number: uint64(i), payload: padded(20, payload[:min(len(payload), 3000)])}
			datagrams = append(datagrams, p.seal())
		}
		var q QUIC
		addChecked(t, &q, datagrams)
	})
}

// addChecked adds datagrams, each as a copy that is cleared after, and fails
// when q grows beyond its bounds or takes an answer back.
func addChecked(t *testing.T, q *QUIC, datagrams [][]byte) {
	final, answer := false, Result{}
	for i, d := range datagrams {
		sent := bytes.Clone(d)
		res, err := q.Add(sent)
		checkResult(t, res, err)
		if !bytes.Equal(sent, d) {
			t.Fatalf("datagram %d: Add changed it, want it as it was", i)
		}
		clear(sent)
		if final && (res != answer || err != nil) {
			t.Fatalf("datagram %d: Add = %+v, %v after the final answer %+v, want it again", i, res, err, answer)
		}
		if err == ErrMore && (res.Host != "" || res.ECH || i >= maxDatagrams) {
			t.Fatalf("datagram %d: Add = %+v, ErrMore, want a protocol at most, and an answer after %d", i, res, maxDatagrams)
		}
		if len(q.hello.data) > maxHello || len(q.hello.pieces) > maxGaps || len(q.scratch) > maxInitial {
			t.Fatalf("datagram %d: got %d bytes of hello in %d pieces and %d of scratch, want at most %d, %d, %d",
				i, len(q.hello.data), len(q.hello.pieces), len(q.scratch), maxHello, maxGaps, maxInitial)
		}
		final, answer = err == nil, res
	}
}

// checkResult fails if a Result is not one that any bytes may have.
func checkResult(t *testing.T, res Result, err error) {
	t.Helper()
	if err != nil && err != ErrMore {
		t.Fatalf("got error %v, want ErrMore or none", err)
	}
	if res.Host != "" && hostName([]byte(res.Host)) != res.Host {
		t.Fatalf("got host %q, want a lower-case host name", res.Host)
	}
	if res.ECH && res.Protocol != policy.TLS && res.Protocol != policy.QUIC {
		t.Fatalf("got %+v, want ECH with TLS and QUIC only", res)
	}
}

// joined is parts, each preceded by its length in two bytes.
func joined(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

// split is the inverse of joined, for any bytes.
func split(b []byte) (parts [][]byte) {
	for len(b) >= 2 && len(parts) < 2*maxDatagrams {
		n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
		parts = append(parts, b[2:2+n])
		b = b[2+n:]
	}
	return parts
}
