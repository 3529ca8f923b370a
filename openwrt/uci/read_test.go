package uci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFileIsReadUpToItsBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file the error is %v, want fs.ErrNotExist", err)
	}
	for _, tt := range []struct {
		size int
		want string // of the error
	}{
		{MaxFile, ""},
		{MaxFile + 1, path + " is longer than 1048576 bytes"},
	} {
		if err := os.WriteFile(path, []byte(strings.Repeat("#", tt.size)), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := Read(path)
		if tt.want == "" && (err != nil || len(text) != tt.size) {
			t.Errorf("of %d bytes %d are read, error %v", tt.size, len(text), err)
		}
		if tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("the error of %d bytes is %v, want %s", tt.size, err, tt.want)
		}
	}
}
