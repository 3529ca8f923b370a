package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/mark"
)

// atOnce is how long a client may wait for the network after the daemon has
// gone without a word: less than the heartbeat, which ends after three, would
// leave it. Most of it is for a machine with other work.
const atOnce = time.Second

// snapshot is what must be the same again.
func (h *home) snapshot(t *testing.T) string {
	t.Helper()
	s, err := h.RouterState()
	ok(t, err)
	return s
}

// wantRestored compares line by line, so that the difference can be read.
func wantRestored(t *testing.T, before, after string) {
	t.Helper()
	old, now := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range missing(old, now) {
		t.Errorf("gone: %s", line)
	}
	for _, line := range missing(now, old) {
		t.Errorf("left behind: %s", line)
	}
}

// missing are the lines of a that b lacks.
func missing(a, b []string) (lines []string) {
	has := make(map[string]int)
	for _, line := range b {
		has[line]++
	}
	for _, line := range a {
		if has[line]--; has[line] < 0 {
			lines = append(lines, line)
		}
	}
	return lines
}

// wantNothingCarried waits for the entries of flows that end by themselves a
// moment after the daemon has.
func (h *home) wantNothingCarried(t *testing.T) {
	t.Helper()
	flows, err := h.Carried(mark.Carried, mark.Mask)
	ok(t, err)
	for _, f := range flows {
		t.Errorf("still tracked as carried by the daemon: %s", f)
	}
}

// use lets one flow of each kind begin and stay open: relayed by name, relayed
// by address, forwarded, over TCP and UDP.
func (h *home) use(t *testing.T) {
	t.Helper()
	laptop := h.Clients["laptop"]
	for _, f := range families {
		for _, addr := range []netip.Addr{
			h.address(t, laptop, "www.foreign.example", f), f.of(h.At.Foreign), h.address(t, laptop, "www.domestic.example", f),
		} {
			_, err := hello(h.dialTCP(t, laptop, at(addr, lab.EchoPort)))
			ok(t, err)
			exchange(t, h.socket(t, laptop, addr), at(addr, lab.EchoPort), "hello")
		}
	}
}

// terminate stops the daemon and waits for its end.
func (h *home) terminate(t *testing.T) {
	t.Helper()
	ok(t, h.daemon.Signal(syscall.SIGTERM))
	code, err := h.daemon.Wait(h.ctx())
	ok(t, err)
	if code != 0 {
		t.Errorf("fairlead exits with %d, want 0", code)
	}
}

func TestAStopRestoresEverything(t *testing.T) {
	for _, mode := range []string{"open", "closed"} {
		t.Run(mode, func(t *testing.T) {
			h := newHouse(t, lab.Options{})
			before := h.snapshot(t)
			h.configure(h.ConfigText(lab.Config{OnFailure: mode}))
			h.start()
			if h.snapshot(t) == before {
				t.Fatal("the snapshot does not show that fairlead runs")
			}
			h.use(t)
			h.terminate(t)
			wantRestored(t, before, h.snapshot(t))
			h.wantNothingCarried(t)
			laptop := h.Clients["laptop"]
			for _, f := range families {
				h.wantPath(t, laptop, f.of(h.At.Foreign), byKernel)
			}
		})
	}
}

// procd sends both where a change of the configuration needs a restart.
func TestAReloadThatComesDuringAStopDoesNotInterruptIt(t *testing.T) {
	h := newHouse(t, lab.Options{})
	before := h.snapshot(t)
	h.configure(h.ConfigText(lab.Config{}))
	h.start()
	h.use(t)
	ok(t, h.daemon.Signal(syscall.SIGTERM))
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for h.daemon.Signal(syscall.SIGHUP) == nil {
		<-again.C
	}
	if code, err := h.daemon.Wait(h.ctx()); code != 0 || err != nil {
		t.Errorf("fairlead exits with %d (%v), want 0", code, err)
	}
	wantRestored(t, before, h.snapshot(t))
}

func TestADirectFlowLivesOnAfterAStop(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	for _, f := range families {
		c := h.dialTCP(t, laptop, at(h.address(t, laptop, "www.domestic.example", f), lab.EchoPort))
		_, err := hello(c)
		ok(t, err)
		t.Cleanup(func() { // after the stop below
			io.WriteString(c, "still there\n")
			got := make([]byte, 12)
			if _, err := io.ReadFull(c, got); err != nil {
				t.Errorf("%s: after the stop the flow gave %q, %v", f.name, got, err)
			}
		})
	}
	h.terminate(t)
}

func TestAfterACrashTheHouseHasAnOrdinaryRouter(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	fakes := map[string]netip.Addr{}
	for _, f := range families {
		fakes[f.name] = h.address(t, laptop, "www.foreign.example", f)
	}
	h.use(t)
	ok(t, h.daemon.Kill())
	eachFamily(t, func(t *testing.T, f family) {
		h.within(t, atOnce, "a new flow", func() { h.wantPath(t, laptop, f.of(h.At.Shared), byKernel) })
		h.within(t, atOnce, "a question", func() {
			for _, network := range []string{"udp", "tcp"} {
				answer, err := laptop.Lookup(h.ctx(), f.of(h.At.RouterLAN), "www.foreign.example", lab.TypeA, network)
				ok(t, err)
				if len(answer.Addrs) != 1 || answer.Addrs[0] != h.At.Poison.V4 {
					t.Errorf("over %s: the answer is %v, want the router's own resolver's, %s", network, answer.Addrs, h.At.Poison.V4)
				}
			}
		})
		h.wantRefused(t, laptop, fakes[f.name])
	})
}

// The question that was asked before the crash and the next one are often of
// one socket.
func TestAfterACrashTheSameSocketIsAnswered(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		if h.daemon == nil {
			h.start()
		}
		conn := h.dialUDP(t, laptop, at(f.of(h.At.RouterLAN), 53))
		question := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07foreign\x07example\x00\x00\x01\x00\x01")
		for _, when := range []string{"before", "after"} {
			_, err := conn.Write(question)
			ok(t, err)
			answer := make([]byte, 512)
			if _, err := conn.Read(answer); err != nil {
				t.Fatalf("the question %s the crash: %v", when, err)
			}
			if when == "before" {
				ok(t, h.daemon.Kill())
				h.daemon = nil
			}
		}
	})
}

func (h *home) within(t *testing.T, limit time.Duration, what string, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took > limit {
		t.Errorf("%s took %v, want less than %v", what, took, limit)
	}
}

func TestAfterACrashAClosedRouterRefusesWhatItWouldDivert(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{OnFailure: "closed"})
	laptop := h.Clients["laptop"]
	direct, fakes := map[string]netip.Addr{}, map[string]netip.Addr{}
	for _, f := range families {
		direct[f.name] = h.address(t, laptop, "www.domestic.example", f)
		fakes[f.name] = h.address(t, laptop, "www.foreign.example", f)
	}
	ok(t, h.daemon.Kill())
	eachFamily(t, func(t *testing.T, f family) {
		h.wantRefused(t, laptop, fakes[f.name])
		h.wantRefused(t, laptop, f.of(h.At.Foreign))
		for _, network := range []string{"udp", "tcp"} {
			for _, server := range []netip.Addr{f.of(h.At.RouterLAN), f.of(h.At.Public)} {
				answer, err := laptop.Lookup(h.ctx(), server, "www.foreign.example", lab.TypeA, network)
				if !refused(err) {
					t.Errorf("asking %s over %s: %v, %v; want a refusal", server, network, answer.Addrs, err)
				}
			}
		}
		h.wantPath(t, laptop, direct[f.name], byKernel) // known to leave directly
	})
}

func TestAfterACrashTheNextRunKnowsEveryFakeAddress(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	before := map[string]netip.Addr{}
	for _, f := range families {
		for i := range 20 { // so that the same again is no accident
			name := fmt.Sprintf("name%d.foreign.example", i)
			before[name+f.name] = h.address(t, laptop, name, f)
		}
	}
	ok(t, h.daemon.Kill())
	h.start()
	for _, f := range families {
		h.wantPath(t, laptop, before["name7.foreign.example"+f.name], byNode) // without asking anew
		for i := 19; i >= 0; i-- {
			name := fmt.Sprintf("name%d.foreign.example", i)
			if got, want := h.address(t, laptop, name, f), before[name+f.name]; got != want {
				t.Errorf("%s is %s after the crash, before it was %s", name, got, want)
			}
		}
	}
}

func TestAFlushAfterACrashRestoresEverything(t *testing.T) {
	h := newHouse(t, lab.Options{})
	before := h.snapshot(t)
	h.configure(h.ConfigText(lab.Config{}))
	h.start()
	h.use(t)
	ok(t, h.daemon.Kill())
	if out, errs, code := h.command("flush"); code != 0 || out+errs != "" {
		t.Fatalf("flush exits with %d and says %q", code, out+errs)
	}
	wantRestored(t, before, h.snapshot(t))
	h.wantNothingCarried(t)
}

func TestAFlushLeavesARunningDaemonAlone(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	_, errs, code := h.command("flush")
	if code != 1 || !strings.Contains(errs, "another fairlead is running") {
		t.Errorf("flush exits with %d and says %q, want 1 and that one is running", code, errs)
	}
	laptop := h.Clients["laptop"]
	h.wantPath(t, laptop, h.address(t, laptop, "www.foreign.example", families[0]), byNode)
}

func TestASecondInstanceIsRefusedAndHarmsNobody(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	c := h.dialTCP(t, laptop, at(h.address(t, laptop, "www.foreign.example", families[0]), lab.EchoPort))
	_, err := hello(c)
	ok(t, err)
	before := h.snapshot(t)

	out, errs, code := h.command("run")
	if want := fmt.Sprintf("another fairlead is running (process %d", h.daemon.Pid()); code != 1 || !strings.Contains(errs, want) {
		t.Errorf("the second instance exits with %d and says %q, want 1 and %q", code, out+errs, want)
	}
	wantRestored(t, before, h.snapshot(t))
	io.WriteString(c, "still there\n")
	if _, err := io.ReadFull(c, make([]byte, 12)); err != nil {
		t.Errorf("the first instance's flow: %v", err)
	}
	h.wantPath(t, laptop, h.address(t, laptop, "other.foreign.example", families[0]), byNode)
	h.status(t)
}

// The kernel has one table for all configurations.
func TestAnInstanceWithAStateOfItsOwnHarmsNobody(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	before := h.snapshot(t)
	text, err := os.ReadFile(h.config)
	ok(t, err)
	other := filepath.Join(t.TempDir(), "fairlead")
	ok(t, os.WriteFile(other, []byte(replaced(string(text), h.StateDir(), t.TempDir())), 0o600))
	for _, command := range []string{"run", "flush", "guard"} {
		if out, errs, code := runAs(t, h.Router, command, "-c", other); code != 1 || !strings.Contains(errs, "another fairlead is running on this network") {
			t.Errorf("%s exits with %d and says %q, want 1 and that another is running", command, code, out+errs)
		}
	}
	wantRestored(t, before, h.snapshot(t))
}

// A daemon that hangs holds sockets that the kernel still finds; only the
// heartbeat that stops tells.
func TestAHungDaemonOpensTheRouter(t *testing.T) {
	t.Parallel()
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	fake := h.address(t, laptop, "www.foreign.example", families[0])
	ok(t, h.daemon.Signal(syscall.SIGSTOP))
	began := time.Now()
	until(t, 5*time.Second, "a flow past the hung daemon", func() bool {
		p, err := h.briefly(laptop, h.At.Foreign.V4)
		return err == nil && p == byKernel
	})
	if took := time.Since(began); took > 3500*time.Millisecond {
		t.Errorf("the router opened after %v, want 3.5s", took)
	}
	answer, err := laptop.Lookup(h.ctx(), h.At.RouterLAN.V6, "www.foreign.example", lab.TypeA, "udp")
	if err != nil || len(answer.Addrs) != 1 || answer.Addrs[0] != h.At.Poison.V4 {
		t.Errorf("the answer past the hung daemon is %v, %v; want the router's own resolver's", answer.Addrs, err)
	}
	h.wantRefused(t, laptop, fake)

	ok(t, h.daemon.Signal(syscall.SIGCONT))
	until(t, soon, "a flow through the daemon that goes on", func() bool {
		p, err := h.briefly(laptop, fake)
		return err == nil && p == byNode
	})
}

// briefly tries a flow that may meet silence.
func (h *home) briefly(c *lab.Client, addr netip.Addr) (path, error) {
	conn, err := c.DialTCP(h.ctx(), at(addr, lab.EchoPort))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
	seen, err := hello(conn)
	if err != nil {
		return "", err
	}
	return h.pathOf(conn.LocalAddr(), seen), nil
}

func TestWithoutPrivilegeTheDaemonSaysSoAndChangesNothing(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{}))
	before := h.snapshot(t)
	stdout, stderr, code := h.unprivileged(t, "run", "-c", h.config)
	if code != 1 || !strings.Contains(stderr, "CAP_NET_ADMIN") {
		t.Errorf("fairlead exits with %d and says %q, want 1 and CAP_NET_ADMIN", code, stdout+stderr)
	}
	wantRestored(t, before, h.snapshot(t))
}

func TestWithoutPrivilegeNothingIsFlushedAndOneLineSaysSo(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{}))
	for _, command := range []string{"flush", "guard"} {
		_, stderr, code := h.unprivileged(t, command, "-c", h.config)
		if code != 1 || !strings.Contains(stderr, "CAP_NET_ADMIN") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s exits with %d and says %q, want 1 and one line with CAP_NET_ADMIN", command, code, stderr)
		}
	}
}

// unprivileged runs fairlead in the router without CAP_NET_ADMIN: its bounding
// set is taken from the thread that starts it, and the thread is not used again.
func (h *home) unprivileged(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs buffer
	cmd := exec.Command(self(t), args...)
	cmd.Env = append(os.Environ(), asFairlead+"=1")
	cmd.Stdout, cmd.Stderr = &out, &errs
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Setns(h.Router.Fd(), unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0)
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	ok(t, <-started)
	cmd.Wait() // the state is looked at
	return string(out), string(errs), cmd.ProcessState.ExitCode()
}
