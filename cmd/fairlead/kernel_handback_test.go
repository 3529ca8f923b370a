package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// echoes sends datagrams one by one and gives who the server says sent them.
func echoes(t *testing.T, c *net.UDPConn, n int) map[string]int {
	t.Helper()
	seen := map[string]int{}
	buf := make([]byte, 2048)
	for range n {
		c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		m, err := c.Read(buf)
		if err != nil {
			t.Fatalf("after %v: %v", seen, err)
		}
		who, _, _ := strings.Cut(string(buf[:m]), " ")
		seen[who]++
	}
	return seen
}

// A hard-coded address whose flow could have another way is diverted, decided
// to be direct, and then carried by the kernel as if it had never been diverted.
func TestADirectUDPFlowToALiteralAddressIsHandedBackToTheKernel(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	for _, to := range []netip.Addr{h.At.Domestic.V4, h.At.Domestic.V6} {
		capture, err := h.CaptureWAN()
		if err != nil {
			t.Fatal(err)
		}
		c, err := laptop.DialUDP(h.ctx(), netip.AddrPortFrom(to, lab.EchoPort))
		if err != nil {
			t.Fatal(err)
		}
		seen := echoes(t, c, 20)
		c.Close()
		want := h.At.RouterWAN.V4
		if to.Is6() {
			want = laptop.Addr6 // IPv6 has no NAT here
		}
		if len(seen) != 1 {
			t.Errorf("to %s: the server saw the senders %v, want one", to, seen)
		}
		for who := range seen {
			if at, err := netip.ParseAddrPort(who); err != nil || at.Addr() != want {
				t.Errorf("to %s: the server saw %s, want %s", to, who, want)
			}
		}
		packets, err := capture.Packets()
		if err != nil {
			t.Fatal(err)
		}
		capture.Close()
		for _, p := range packets {
			if s, ok := p.Segment(); ok && s.Proto == nstest.UDP && s.Src.Addr() == laptop.Addr4 {
				t.Errorf("a datagram left the WAN with the client's private address: %v", s)
			}
		}
	}
	s := h.status(t)
	if s.Flows.HandedBack != 2 || s.Flows.UDP != 0 {
		t.Errorf("flows = %+v, want two handed back and none relayed", s.Flows)
	}
	if direct := s.Outbounds["direct"]; direct.TxBytes+direct.RxBytes != 0 {
		t.Errorf("the daemon carried %+v directly, want nothing", direct)
	}
}

// The kernel masqueraded it, so its datagrams are diverted with the router's own
// address as their source.
func TestAUDPFlowThatBeganBeforeFairleadGoesOnAsItsClients(t *testing.T) {
	h := newHouse(t, lab.Options{})
	tv := fmt.Sprintf("config client 'tv'\n\tlist mac '%s'\n\toption outbound 'node'\n", h.Clients["tv"].MAC)
	h.configure(h.ConfigText(lab.Config{Clients: tv}))
	flows := map[string]*net.UDPConn{}
	for _, name := range []string{"laptop", "tv"} {
		c, err := h.Clients[name].DialUDP(h.ctx(), netip.AddrPortFrom(h.At.Domestic.V4, lab.EchoPort))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		flows[name] = c
		echoes(t, c, 2)
	}
	h.start()
	for name, want := range map[string]netip.Addr{"laptop": h.At.RouterWAN.V4, "tv": h.At.Node.V4} {
		for who := range echoes(t, flows[name], 5) {
			if at, err := netip.ParseAddrPort(who); err != nil || at.Addr() != want {
				t.Errorf("the server saw %s of a flow of the %s, want %s", who, name, want)
			}
		}
	}
}

func TestAQuestionFromAPortOfBeforeFairleadIsItsClients(t *testing.T) {
	h := newHouse(t, lab.Options{})
	refused := "config rule\n\tlist client 'tv'\n\toption outbound 'reject'\n"
	h.configure(h.ConfigText(lab.Config{Rules: refused}))
	c, err := h.Clients["tv"].DialUDP(h.ctx(), netip.AddrPortFrom(h.At.ISP.V4, 53))
	ok(t, err)
	defer c.Close()
	const mask, nameError = 15, 3
	rcode := func(id uint16) byte {
		c.SetDeadline(time.Now().Add(patience))
		_, err := c.Write(query(id, "www.domestic.example"))
		ok(t, err)
		reply := make([]byte, 512)
		n, err := c.Read(reply)
		ok(t, err)
		return reply[:n][3] & mask
	}
	if got := rcode(1); got != 0 {
		t.Errorf("before the start: rcode %d, want 0", got)
	}
	h.start()
	if got := rcode(2); got != nameError {
		t.Errorf("after the start: rcode %d, want %d, for the tv is refused every name", got, nameError)
	}
}

func TestAHandedBackFlowIsNotTouchedByTheDaemonsDeath(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	c, err := h.Clients["laptop"].DialUDP(h.ctx(), netip.AddrPortFrom(h.At.Domestic.V4, lab.EchoPort))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := echoes(t, c, 3)
	if err := h.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.daemon.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	after := echoes(t, c, 3)
	for who := range after {
		if before[who] == 0 {
			t.Errorf("after the daemon's death the server sees %v, before it saw %v: want the same mapping", after, before)
		}
	}
}
