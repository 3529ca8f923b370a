package fakeip

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// logged is a logger and what it has written.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func TestAFileSystemThatFailsIsTriedAgain(t *testing.T) {
	open := func(t *testing.T) *os.File { // /dev/full answers every write with ENOSPC
		t.Helper()
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	tests := []struct {
		what    string
		fail    func(t *testing.T, p *Pool)
		recover func(t *testing.T, dir string)
	}{
		{"a full file system", func(t *testing.T, p *Pool) { p.journal.adopt(open(t), p.journal.size) }, func(*testing.T, string) {}},
		{"a directory that is gone", func(t *testing.T, p *Pool) {
			p.journal.file.Close()
			if err := os.RemoveAll(filepath.Dir(p.journal.path)); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, dir string) {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			log, out := logged()
			c := newClock()
			cfg := config(filepath.Join(dir, "journal"))
			cfg.Log, cfg.Now = log, c.Now
			p := mustOpen(t, cfg)
			mustAssign(t, p, "before")
			tt.fail(t, p)
			mustAssign(t, p, "meanwhile1")
			mustAssign(t, p, "meanwhile2")
			if got := strings.Count(out.String(), "level=WARN"); got != 1 {
				t.Errorf("%d warnings, want 1: %s", got, out)
			}
			tt.recover(t, dir)
			c.advance(retryAfter)
			mustAssign(t, p, "after")
			if !strings.Contains(out.String(), "recorded again") {
				t.Errorf("the recovery is not in the log: %s", out)
			}
			want := maps.Collect(p.All())
			crash(p)
			p = mustOpen(t, cfg)
			if got := maps.Collect(p.All()); len(got) != 4 || !maps.Equal(got, want) {
				t.Errorf("restored %v, want %v", got, want)
			}
			mustClose(t, p)
		})
	}
}

func TestAJournalThatCannotBeHadIsDoneWithout(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), nil)
	for what, path := range map[string]string{
		"a directory that is missing":  filepath.Join(dir, "missing", "journal"),
		"a directory that is a file":   filepath.Join(dir, "file", "journal"),
		"a directory that is a device": "/dev/null/journal",
	} {
		log, out := logged()
		cfg := config(path)
		cfg.Log = log
		p := mustOpen(t, cfg)
		mustAssign(t, p, "example.com")
		if !strings.Contains(out.String(), "not recorded") {
			t.Errorf("%s: log = %q", what, out)
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: Close: %v", what, err)
		}
	}
}
