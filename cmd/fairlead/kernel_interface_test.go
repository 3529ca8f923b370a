package main

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

const tunnelled = `
config outbound 'tunnel'
	option type 'interface'
	option device 'vpn0'
	option gateway '203.0.114.1'

config rule 'tunnelled'
	list domain 'tunnel.foreign.example'
	option outbound 'tunnel'

config rule 'foreign'
	list domain 'foreign.example'
	option outbound 'node'

config rule 'domestic'
	list domain 'domestic.example'
	option outbound 'direct'
`

// newTunnelHome is a home with a second way out.
func newTunnelHome(t *testing.T) (*home, *lab.Tunnel) {
	t.Helper()
	h := newHouse(t, lab.Options{})
	tunnel, err := h.AddTunnel("vpn0")
	ok(t, err)
	h.configure(h.ConfigText(lab.Config{Rules: tunnelled}))
	h.start()
	return h, tunnel
}

// seenFrom gets a name's page and gives whom the server saw.
func (h *home) seenFrom(t *testing.T, c *lab.Client, addr netip.Addr, name string) netip.Addr {
	t.Helper()
	seen, err := c.GetHTTPAt(h.ctx(), addr, "http://"+name+"/")
	ok(t, err)
	if seen.Host != name {
		t.Errorf("the server was asked for %q, want %q", seen.Host, name)
	}
	return seen.Client.Addr()
}

func TestANamesFlowsLeaveThroughItsInterfaceInTheKernel(t *testing.T) {
	h, tunnel := newTunnelHome(t)
	for _, name := range []string{"laptop", "tv"} {
		client := h.Clients[name]
		fake := name == "laptop"
		addr := h.address(t, client, "tunnel.foreign.example", families[0])
		if got := netip.MustParsePrefix("198.18.0.0/15").Contains(addr); got != fake {
			t.Errorf("%s was answered %s: fake %v, want %v", name, addr, got, fake)
		}
		if got := h.seenFrom(t, client, addr, "tunnel.foreign.example"); got != tunnel.Router.V4 {
			t.Errorf("%s: the server saw %s, want the tunnel's %s", name, got, tunnel.Router.V4)
		}
	}
	if s := h.status(t); s.Outbounds["tunnel"].TxBytes != 0 || s.Flows.TCP != 0 {
		t.Errorf("the daemon carried %+v, %+v, want nothing", s.Outbounds["tunnel"], s.Flows)
	}
	for _, q := range h.ISPLog() {
		t.Errorf("the ISP was asked for %s", q.Name)
	}
	other := h.address(t, h.Clients["laptop"], "www.foreign.example", families[0])
	if got := h.seenFrom(t, h.Clients["laptop"], other, "www.foreign.example"); got != h.At.Node.V4 {
		t.Errorf("a name of the node's was seen from %s, want the node", got)
	}
}

func TestAnInterfacesFlowsAreRefusedWhileItIsGoneAndReturnWithIt(t *testing.T) {
	h, tunnel := newTunnelHome(t)
	laptop := h.Clients["laptop"]
	addr := h.address(t, laptop, "tunnel.foreign.example", families[0])
	if got := h.seenFrom(t, laptop, addr, "tunnel.foreign.example"); got != tunnel.Router.V4 {
		t.Fatalf("the server saw %s, want the tunnel's %s", got, tunnel.Router.V4)
	}
	ok(t, tunnel.Remove())
	if h.reaches("laptop", at(addr, 80)) {
		t.Error("without the tunnel, its name is reached another way")
	}
	ok(t, tunnel.Create())
	for end := time.Now().Add(soon); !h.reaches("laptop", at(addr, 80)); {
		if time.Now().After(end) {
			t.Fatal("the tunnel is back, but its name is not reached")
		}
	}
	if got := h.seenFrom(t, laptop, addr, "tunnel.foreign.example"); got != tunnel.Router.V4 {
		t.Errorf("after the tunnel came back the server saw %s, want %s", got, tunnel.Router.V4)
	}
}

// With the device the kernel forgets the connections that it masqueraded there:
// what comes of them then is a segment in the middle of an unknown one.
func TestAConnectionThroughAnInterfaceThatGoesDoesNotGoOnByTheWAN(t *testing.T) {
	for client, kind := range map[string]string{"laptop": "a fake address", "tv": "a real address"} {
		t.Run(kind, func(t *testing.T) {
			h, tunnel := newTunnelHome(t)
			addr := h.address(t, h.Clients[client], "tunnel.foreign.example", families[0])
			c, err := h.Clients[client].DialTCP(h.ctx(), at(addr, lab.EchoPort))
			ok(t, err)
			defer c.Close()
			hearUnreachable(t, c)
			ok(t, say(c, "before"))
			capture, err := h.CaptureWAN()
			ok(t, err)
			defer capture.Close()
			ok(t, tunnel.Remove())
			if err := say(c, "after"); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("without the tunnel the connection ends with %v, want %v", err, syscall.EHOSTUNREACH)
			}
			packets, err := capture.Packets()
			ok(t, err)
			for _, p := range packets {
				if s, ok := p.Segment(); ok && s.Proto == nstest.TCP && s.Dst.Port() == lab.EchoPort {
					t.Errorf("a segment from %s to %s is on the WAN, want none", s.Src, s.Dst)
				}
			}
		})
	}
}

// say sends something and waits until it is echoed: what the echo server says
// before that comes in pieces of its own.
func say(c *net.TCPConn, text string) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(text)); err != nil {
		return err
	}
	for got, buf := "", make([]byte, 100); !strings.HasSuffix(got, text); {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		got += string(buf[:n])
	}
	return nil
}

// hearUnreachable makes an ICMP error end an established connection, which by
// itself goes on trying (ip(7), IP_RECVERR).
func hearUnreachable(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	ok(t, err)
	ok(t, raw.Control(func(fd uintptr) {
		ok(t, syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_RECVERR, 1))
	}))
}

// After a restart the kernel does not know yet what a fake address stands for.
func TestAfterARestartAnInterfacesFlowIsRelayedThroughIt(t *testing.T) {
	h, tunnel := newTunnelHome(t)
	laptop := h.Clients["laptop"]
	addr := h.address(t, laptop, "tunnel.foreign.example", families[0])
	ok(t, h.daemon.Kill())
	h.start()
	if got := h.seenFrom(t, laptop, addr, "tunnel.foreign.example"); got != tunnel.Router.V4 {
		t.Errorf("the server saw %s, want the tunnel's %s", got, tunnel.Router.V4)
	}
}

func TestAReloadMovesANameFromItsInterface(t *testing.T) {
	h, _ := newTunnelHome(t)
	laptop := h.Clients["laptop"]
	addr := h.address(t, laptop, "tunnel.foreign.example", families[0])
	h.configure(h.ConfigText(lab.Config{}))
	if _, errs, code := h.command("reload"); code != 0 {
		t.Fatalf("reload exits %d: %s", code, errs)
	}
	if got := h.seenFrom(t, laptop, addr, "tunnel.foreign.example"); got != h.At.Node.V4 {
		t.Errorf("after the reload the server saw %s, want the node", got)
	}
}
