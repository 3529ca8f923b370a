package main

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// startWith is start with more in the daemon's environment.
func (h *home) startWith(t *testing.T, environment ...string) {
	t.Helper()
	d, err := h.Run(exec.Command(self(t), "run", "-c", h.config), append(environment, asFairlead+"=1")...)
	ok(t, err)
	h.daemon = d
	ok(t, d.Ready(h.ctx()))
}

// laptopAndTV are the fakeip and the realip client of the usual configuration.
func (h *home) laptopAndTV() (laptop, tv *lab.Client) { return h.Clients["laptop"], h.Clients["tv"] }

// entry reads what a real client sent from package sniff's corpus: its
// datagrams, or one stream.
func entry(t *testing.T, name string) (parts [][]byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "sniff", "testdata", filepath.FromSlash(name)))
	ok(t, err)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "want ") {
			continue
		}
		part, err := hex.DecodeString(line)
		ok(t, err)
		parts = append(parts, part)
	}
	return parts
}
