package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestTheArchiveHoldsFilesBelowTheirDirectories(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "data"), []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := newInitramfs(&b)
	a.device("dev/console", 5, 1)
	a.add("/init", []byte("program"))
	a.copy("tests/nft", dir)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	got := entries(t, b.Bytes())
	want := []string{
		`dev 40755 0:0 ""`, `dev/console 20600 5:1 ""`, `init 100755 0:0 "program"`,
		`tests 40755 0:0 ""`, `tests/nft 40755 0:0 ""`, `tests/nft/sub 40755 0:0 ""`, `tests/nft/sub/data 100755 0:0 "12345"`,
		`TRAILER!!! 0 0:0 ""`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the archive has\n%q, want\n%q", got, want)
	}
}

func TestAFileThatIsMissingIsSaidAtTheEnd(t *testing.T) {
	a := newInitramfs(&bytes.Buffer{})
	a.copy("x", filepath.Join(t.TempDir(), "missing"))
	a.add("init", nil)
	if err := a.close(); !os.IsNotExist(err) {
		t.Errorf("close = %v, want that the file is missing", err)
	}
}

// entries reads an archive back: name, mode, device numbers, content.
func entries(t *testing.T, b []byte) (all []string) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 110 || string(b[:6]) != "070701" {
			t.Fatalf("%d bytes that are no entry: %.20q", len(b), b)
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		size, named := field(6), field(11)
		content := (110 + named + 3) &^ 3
		all = append(all, fmt.Sprintf("%s %o %d:%d %q", b[110:110+named-1], field(1), field(9), field(10), b[content:content+size]))
		b = b[(content+size+3)&^3:]
	}
	return all
}
