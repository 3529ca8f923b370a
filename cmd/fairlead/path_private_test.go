package main

import (
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// A relayed flow has no source NAT. When the daemon goes, its packets must not
// leave with the client's own address, nor may a last answer of ours make the
// kernel take the client's next packet for a reply.
func TestNoPrivateAddressLeavesWhenTheDaemonGoes(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"stop": syscall.SIGTERM, "crash": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, lab.Options{}, lab.Config{})
			capture, err := h.CaptureWAN()
			ok(t, err)
			chatter := h.chatter(t, h.At.Foreign.V4)
			chatter.wait(t, 20)

			ok(t, h.daemon.Signal(signal))
			_, err = h.daemon.Wait(h.ctx())
			ok(t, err)
			chatter.wait(t, 50)
			_, errs, code := h.command("flush")
			if code != 0 {
				t.Fatalf("flush exits with %d: %s", code, errs)
			}
			chatter.wait(t, 50)

			packets, err := capture.Packets()
			ok(t, err)
			sent := wantNoPrivateSource(t, packets)
			if sent < 40 {
				t.Errorf("captured %d packets, want those of the flows", sent)
			}
		})
	}
}

// A server that answers late, when the kernel has forgotten the client's flow,
// must not make it take the client's next datagram for an answer to that. The
// flow is one that the daemon keeps: a direct one would be handed back.
func TestNoPrivateAddressLeavesAfterALateAnswer(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Default: "node"})
	capture, err := h.CaptureWAN()
	ok(t, err)
	server, err := h.Internet.ListenUDP(at(h.At.Foreign.V4, testPort))
	ok(t, err)
	defer server.Close()
	server.SetDeadline(time.Now().Add(soon))
	laptop := h.Clients["laptop"]
	conn := h.socket(t, laptop, h.At.Foreign.V4)
	say := func(text string) (from netip.AddrPort) {
		_, err := conn.WriteToUDPAddrPort([]byte(text), at(h.At.Foreign.V4, testPort))
		ok(t, err)
		got, from := receive(t, server)
		if got != text {
			t.Fatalf("the server received %q, want %q", got, text)
		}
		return from
	}

	mapping := say("question")
	ok(t, h.Router.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }))
	_, err = server.WriteToUDPAddrPort([]byte("late answer"), mapping)
	ok(t, err)
	if text, _ := receive(t, conn); text != "late answer" {
		t.Fatalf("the client received %q", text)
	}
	if again := say("thanks"); again != mapping {
		t.Errorf("the next datagram was seen from %s, the first from %s", again, mapping)
	}
	packets, err := capture.Packets()
	ok(t, err)
	wantNoPrivateSource(t, packets)
}

// wantNoPrivateSource gives how many packets left the WAN.
func wantNoPrivateSource(t *testing.T, packets []nstest.Packet) (sent int) {
	t.Helper()
	private := netip.MustParsePrefix("192.168.0.0/16")
	for _, p := range packets {
		s, decoded := p.Segment()
		if !decoded || !p.Outgoing {
			continue
		}
		sent++
		if private.Contains(s.Src.Addr()) {
			t.Fatalf("%s left with the source %s for %s", protocol(s), s.Src, s.Dst)
		}
	}
	return sent
}

func protocol(s nstest.Segment) string {
	if s.Proto == nstest.TCP {
		return "TCP"
	}
	return "UDP"
}

// chatter is a client that goes on sending on its open flows, whatever happens.
type chatter struct{ rounds atomic.Int64 }

// chatter sends over UDP, and on a TCP connection that is opened anew when it
// ends, to an echo server, until the test ends.
func (h *home) chatter(t *testing.T, addr netip.Addr) *chatter {
	t.Helper()
	laptop := h.Clients["laptop"]
	udp := h.socket(t, laptop, addr)
	tcp := h.dialTCP(t, laptop, at(addr, lab.EchoPort))
	_, err := hello(tcp)
	ok(t, err)
	exchange(t, udp, at(addr, lab.EchoPort), "hello")
	c := new(chatter)
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			udp.WriteToUDPAddrPort([]byte("more"), at(addr, lab.EchoPort))
			tcp.Write([]byte("more"))
			c.rounds.Add(1)
		}
	}()
	return c
}

// wait lets it send for some rounds more.
func (c *chatter) wait(t *testing.T, rounds int64) {
	t.Helper()
	until := c.rounds.Load() + rounds
	deadline := time.After(patience)
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for c.rounds.Load() < until {
		select {
		case <-pace.C:
		case <-deadline:
			t.Fatalf("the client sent %d rounds, want %d", c.rounds.Load(), until)
		}
	}
}
