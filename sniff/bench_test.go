package sniff

import "testing"

// benchmarkStream sniffs one entry of the corpus, all of it there.
func benchmarkStream(b *testing.B, e entry) {
	b.ReportAllocs()
	b.SetBytes(int64(len(e.parts[0])))
	for b.Loop() {
		if got, err := Stream(e.parts[0]); got != e.want || err != nil {
			b.Fatalf("Stream = %+v, %v, want %+v", got, err, e.want)
		}
	}
}

func BenchmarkStreamTLS(b *testing.B) {
	benchmarkStream(b, readEntry(b, "testdata/stream/go-tls.hex"))
}

func BenchmarkStreamTLSInRecordsOf512Bytes(b *testing.B) {
	e := readEntry(b, "testdata/stream/go-tls.hex")
	e.parts[0] = inRecords(e.parts[0], 512)
	benchmarkStream(b, e)
}

func BenchmarkStreamHTTP(b *testing.B) {
	benchmarkStream(b, readEntry(b, "testdata/stream/curl-http.hex"))
}

// BenchmarkQUIC sniffs one flow whose hello comes in two datagrams.
func BenchmarkQUIC(b *testing.B) {
	e := readEntry(b, "testdata/quic/quic-go-v1.hex")
	b.ReportAllocs()
	for b.Loop() {
		if got, err := addAll(e.parts...); got != e.want || err != nil {
			b.Fatalf("Add = %+v, %v, want %+v", got, err, e.want)
		}
	}
}

func BenchmarkIsQUIC(b *testing.B) {
	d := readEntry(b, "testdata/quic/quic-go-v1.hex").parts[0]
	b.ReportAllocs()
	for b.Loop() {
		if !IsQUIC(d) {
			b.Fatal("IsQUIC = false, want true")
		}
	}
}

func BenchmarkDatagram(b *testing.B) {
	d := []byte(dnsQuery("www.example.com"))
	b.ReportAllocs()
	for b.Loop() {
		if Datagram(d) == (Result{}) {
			b.Fatal("Datagram = the zero Result, want DNS")
		}
	}
}
