package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// asFairlead makes this test binary behave as fairlead itself, so that the
// daemon in the lab is the code under test, race detector included.
const asFairlead = "FAIRLEAD_TEST_AS_FAIRLEAD"

func TestMain(m *testing.M) {
	if os.Getenv(asFairlead) != "" {
		os.Exit(dispatch(env{os.Stdin, os.Stdout, os.Stderr, stagedDNSMasq()}, os.Args[1:]))
	}
	if p := os.Getenv(asPrepared); p != "" {
		becomePrepared(p)
	}
	os.Exit(nstest.Main(m))
}

// home is a lab whose router runs fairlead.
type home struct {
	*lab.World
	t      *testing.T
	daemon *lab.Daemon
	config string // path
}

// patience bounds what a test waits for. Nothing should take this long.
const patience = 20 * time.Second

// newHome starts a lab and fairlead in its router, and ends both with the test.
func newHome(t *testing.T, options lab.Options, c lab.Config) *home {
	t.Helper()
	h := newHouse(t, options)
	h.configure(h.ConfigText(c))
	h.start()
	return h
}

// newHouse is newHome before fairlead is started.
func newHouse(t *testing.T, options lab.Options) *home {
	t.Helper()
	w, err := lab.New(options)
	if err != nil {
		t.Fatal(err)
	}
	h := &home{World: w, t: t}
	t.Cleanup(func() {
		if t.Failed() && h.daemon != nil {
			t.Logf("fairlead's log:\n%s", h.daemon.Log())
		}
		if err := w.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	return h
}

func (h *home) configure(text string) {
	h.t.Helper()
	path, err := h.WriteConfig(text)
	if err != nil {
		h.t.Fatal(err)
	}
	h.config = path
}

// start runs fairlead and waits until it serves.
func (h *home) start() {
	h.t.Helper()
	d, err := h.Run(exec.Command(underTest(h.t), "run", "-c", h.config), asFairlead+"=1")
	if err != nil {
		h.t.Fatal(err)
	}
	h.daemon = d
	if err := d.Ready(h.ctx()); err != nil {
		h.t.Fatalf("%v; its log:\n%s", err, d.Log())
	}
}

// command runs another fairlead command in the router and gives what it printed.
func (h *home) command(args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	return runAs(h.t, h.Router, append(args[:1:1], append([]string{"-c", h.config}, args[1:]...)...)...)
}

func (h *home) ctx() context.Context {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	h.t.Cleanup(cancel)
	return ctx
}

// underTest is the program that runs in the lab's router: this one, unless
// another is given. Virtual machines (cmd/vm) run what is built for routers.
func underTest(t *testing.T) string {
	if path := os.Getenv("FAIRLEAD_TEST_BINARY"); path != "" {
		return path
	}
	return self(t)
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// runAs runs fairlead with args in a namespace, to its end.
func runAs(t *testing.T, ns *nstest.NS, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs buffer
	cmd := exec.Command(underTest(t), args...)
	cmd.Env = append(os.Environ(), asFairlead+"=1")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	return string(out), string(errs), cmd.ProcessState.ExitCode()
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

func jsonInto(text string, v any) error { return json.Unmarshal([]byte(text), v) }
