package main

import (
	"os/exec"
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
