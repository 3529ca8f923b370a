package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// hammer has a client open flows and ask questions, all with the canary and none
// of them for the open, until ctx ends.
func (p *probe) hammer(ctx context.Context, c *lab.Client) (done func()) {
	var all sync.WaitGroup
	again := func(do func(ctx context.Context, i int)) {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				do(brief, i)
				cancel()
			}
		})
	}
	for _, f := range families {
		for _, server := range []lab.Pair{p.At.RouterLAN, p.At.Public} {
			again(func(ctx context.Context, i int) {
				c.Lookup(ctx, f.of(server), fmt.Sprintf("q%d.%s", i, p.name()), f.qtype, "udp")
			})
		}
		for _, network := range []string{"tcp", "udp"} {
			again(func(ctx context.Context, _ int) {
				conn, err := c.NS.Dial(ctx, network, netip.AddrPort{}, at(f.of(p.At.Foreign), lab.EchoPort))
				if err != nil {
					return
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
				io.WriteString(conn, p.label+"\n")
				conn.Read(make([]byte, 100))
			})
		}
	}
	return all.Wait
}

// escaped are packets on the WAN of flows that only the node may see.
func (p *probe) escaped() (packets []string) {
	p.t.Helper()
	captured, err := p.capture.Packets()
	ok(p.t, err)
	for _, c := range captured {
		s, isIP := c.Segment()
		if !isIP || p.At.Node.Is(s.Src.Addr()) || p.At.Node.Is(s.Dst.Addr()) {
			continue
		}
		for _, secret := range []lab.Pair{p.At.Foreign, p.At.Public} {
			if c.Outgoing && secret.Is(s.Dst.Addr()) {
				packets = append(packets, fmt.Sprintf("%s to %s, protocol %d", s.Src, s.Dst, s.Proto))
			}
		}
		if carries(c.Frame, p.label) {
			packets = append(packets, fmt.Sprintf("%s to %s, with the canary", s.Src, s.Dst))
		}
	}
	return packets
}

// long opens flows that are none of the daemon's: direct, and through an interface.
func (h *home) long(t *testing.T, c *lab.Client) (flows map[string]*talk) {
	t.Helper()
	flows = make(map[string]*talk)
	for _, name := range []string{"www.domestic.example", "tunnel.foreign.example"} {
		conn := h.dialTCP(t, c, at(h.address(t, c, name, families[0]), lab.EchoPort))
		flows[name] = &talk{conn: conn, answers: bufio.NewReader(conn)}
		ok(t, flows[name].say("hello"))
	}
	return flows
}

// talk is a TCP connection to an echo server. The server says whom it sees first.
type talk struct {
	conn    net.Conn
	answers *bufio.Reader
	met     bool
}

// say sends a line and waits for it to come back.
func (k *talk) say(text string) error {
	if _, err := io.WriteString(k.conn, text+"\n"); err != nil {
		return err
	}
	if !k.met {
		if _, err := k.answers.ReadString('\n'); err != nil {
			return err
		}
		k.met = true
	}
	got, err := k.answers.ReadString('\n')
	return same(got, text+"\n", err)
}

var daemonsEnds = []struct {
	how       string
	end, mend func(h *home)
	within    time.Duration // until new flows are refused or opened
}{
	{"killed", func(h *home) { ok(h.t, h.daemon.Kill()) }, func(h *home) { h.start() }, atOnce},
	{"hung", func(h *home) { ok(h.t, h.daemon.Signal(syscall.SIGSTOP)) },
		func(h *home) { ok(h.t, h.daemon.Signal(syscall.SIGCONT)) }, 3500 * time.Millisecond},
}

// withoutDaemon has clients hammer while the daemon is away and comes back.
// Gone tells that new flows are no longer the daemon's.
func withoutDaemon(t *testing.T, onFailure string, i int, gone func(h *home, c *lab.Client) bool) *probe {
	h := newHouse(t, lab.Options{})
	_, err := h.AddTunnel("vpn0")
	ok(t, err)
	h.configure(h.ConfigText(lab.Config{Default: "node", OnFailure: onFailure, Rules: tunnelled}))
	h.start()
	laptop := h.Clients["laptop"]
	flows := h.long(t, laptop)
	p := newProbe(t, h)
	ctx, stop := context.WithCancel(t.Context())
	done := p.hammer(ctx, laptop)

	began := time.Now()
	daemonsEnds[i].end(h)
	until(t, soon, "the end of what the daemon carries", func() bool { return gone(h, laptop) })
	if took := time.Since(began); took > daemonsEnds[i].within {
		t.Errorf("the router was %s after %v, want %v", onFailure, took, daemonsEnds[i].within)
	}
	for name, flow := range flows {
		if err := flow.say("while the daemon is away"); err != nil {
			t.Errorf("the flow to %s: %v", name, err)
		}
	}
	h.wantPath(t, laptop, h.At.Domestic.V4, byKernel) // known to be direct
	daemonsEnds[i].mend(h)
	until(t, soon, "the daemon's return", func() bool { return h.isPath(laptop, h.At.Foreign.V4, byNode) })
	stop()
	done()
	for name, flow := range flows {
		if err := flow.say("when the daemon is back"); err != nil {
			t.Errorf("the flow to %s: %v", name, err)
		}
	}
	return p
}

func TestNothingPassesAClosedRouterWhoseDaemonIsAway(t *testing.T) {
	for i, end := range daemonsEnds {
		t.Run(end.how, func(t *testing.T) {
			t.Parallel()
			p := withoutDaemon(t, "closed", i, func(h *home, c *lab.Client) bool {
				_, err := h.briefly(c, h.At.Foreign.V4)
				return refused(err)
			})
			if escaped := p.escaped(); len(escaped) > 0 {
				t.Errorf("%d packets left past the node, the first: %s", len(escaped), escaped[0])
			}
		})
	}
}

// The same oracle must fire where the router opens.
func TestAnOpenRouterWhoseDaemonIsAwayIsAnOrdinaryOne(t *testing.T) {
	for i, end := range daemonsEnds {
		t.Run(end.how, func(t *testing.T) {
			t.Parallel()
			p := withoutDaemon(t, "open", i, func(h *home, c *lab.Client) bool {
				return h.isPath(c, h.At.Foreign.V4, byKernel)
			})
			if escaped := p.escaped(); len(escaped) == 0 {
				t.Error("no packet left directly, want those of new flows")
			}
		})
	}
}

// A router's processor can be taken by others for most of the time. The
// heartbeat must not end with that: new flows would leave directly.
func TestAStarvedDaemonIsNotTakenForAHungOne(t *testing.T) {
	t.Parallel()
	h := newHome(t, lab.Options{}, lab.Config{Default: "node"})
	laptop := h.Clients["laptop"]
	p := newProbe(t, h)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	done := p.hammer(ctx, laptop)
	for on := false; ctx.Err() == nil; on = !on {
		signal, share := syscall.SIGSTOP, 950*time.Millisecond
		if on {
			signal, share = syscall.SIGCONT, 50*time.Millisecond
		}
		ok(t, h.daemon.Signal(signal))
		wait(ctx, share)
	}
	done()
	ok(t, h.daemon.Signal(syscall.SIGCONT))
	if escaped := p.escaped(); len(escaped) > 0 {
		t.Errorf("%d packets left past the node, the first: %s", len(escaped), escaped[0])
	}
	until(t, soon, "a flow through the daemon that is not starved", func() bool { return h.isPath(laptop, h.At.Foreign.V4, byNode) })
}
