package sniff

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

// entry is one file of testdata: what a client sent, and what it is.
type entry struct {
	name  string
	want  Result
	parts [][]byte // datagrams, or one stream
}

// corpus reads testdata/dir. A file has comments, one line "want PROTOCOL
// [HOST] [ech]", and lines of hex.
func corpus(t testing.TB, dir string) []entry {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.hex"))
	if err != nil || len(files) == 0 {
		t.Fatalf("listing testdata/%s: got %d files and error %v, want some", dir, len(files), err)
	}
	var entries []entry
	for _, file := range files {
		entries = append(entries, readEntry(t, file))
	}
	return entries
}

func readEntry(t testing.TB, file string) entry {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	e := entry{name: strings.TrimSuffix(filepath.Base(file), ".hex")}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		if want, ok := strings.CutPrefix(line, "want "); ok {
			e.want = parseWant(t, want)
			continue
		}
		part, err := hex.DecodeString(line)
		if err != nil {
			t.Fatalf("reading %s: %v", file, err)
		}
		e.parts = append(e.parts, part)
	}
	if lines.Err() != nil || len(e.parts) == 0 {
		t.Fatalf("reading %s: got %d parts and error %v, want some", file, len(e.parts), lines.Err())
	}
	return e
}

func parseWant(t testing.TB, s string) Result {
	t.Helper()
	protocols := map[string]policy.Protocol{
		"unknown": 0, "tls": policy.TLS, "http": policy.HTTP, "quic": policy.QUIC, "ssh": policy.SSH,
		"bittorrent": policy.BitTorrent, "stun": policy.STUN, "dns": policy.DNS,
	}
	fields := strings.Fields(s)
	p, ok := protocols[fields[0]]
	if !ok {
		t.Fatalf("got protocol %q in the corpus, want a known one", fields[0])
	}
	res := Result{Protocol: p}
	for _, f := range fields[1:] {
		if f == "ech" {
			res.ECH = true
		} else {
			res.Host = f
		}
	}
	return res
}
