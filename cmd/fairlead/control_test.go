package main

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead/fairlead/openwrt/config"
)

func TestAStopDoesNotWaitForWhoAsksNothingOverTheControlSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	d := &daemon{gen: &generation{cfg: &config.Config{Control: path}}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- d.control(ctx) }()
	silent := connect(t, path)
	if err := askAt(path, "nonsense", nil); err == nil {
		t.Error("a word that nobody knows has an answer, want an error")
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(askTime / 2):
		t.Fatal("the control socket is still served, want it to end at once")
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the silent one has an answer, want its connection closed")
	}
}

// connect reaches the control socket once it is there.
func connect(t *testing.T, path string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("unix", path)
		if err == nil {
			t.Cleanup(func() { c.Close() })
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}
