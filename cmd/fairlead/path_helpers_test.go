package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// soon is how long an exchange may take that should take milliseconds.
const soon = 5 * time.Second

// family is an address family as the tests name it.
type family struct {
	name  string
	qtype uint16
}

var families = []family{{"IPv4", lab.TypeA}, {"IPv6", lab.TypeAAAA}}

// of is the address of a pair that is of this family.
func (f family) of(p lab.Pair) netip.Addr {
	if f.qtype == lab.TypeA {
		return p.V4
	}
	return p.V6
}

// eachFamily runs a test once for IPv4 and once for IPv6.
func eachFamily(t *testing.T, test func(t *testing.T, f family)) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// address asks the router over IPv4 for a name and gives its only address.
func (h *home) address(t *testing.T, c *lab.Client, name string, f family) netip.Addr {
	t.Helper()
	answer, err := c.Lookup(h.ctx(), h.At.RouterLAN.V4, name, f.qtype, "udp")
	ok(t, err)
	if len(answer.Addrs) != 1 {
		t.Fatalf("%s asked for %s and got code %d and %v, want one address", c.Name, name, answer.RCode, answer.Addrs)
	}
	return answer.Addrs[0]
}

// dialTCP connects from a client; all that is done on the connection is bounded.
func (h *home) dialTCP(t *testing.T, c *lab.Client, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := c.DialTCP(h.ctx(), to)
	ok(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// dialUDP opens a connected socket, which hears of ICMP errors.
func (h *home) dialUDP(t *testing.T, c *lab.Client, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := c.DialUDP(h.ctx(), to)
	ok(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(soon))
	return conn
}

// socket opens an unconnected UDP socket of the family of an address.
func (h *home) socket(t *testing.T, c *lab.Client, like netip.Addr) *net.UDPConn {
	t.Helper()
	conn, err := c.ListenUDP(like.Is4())
	ok(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(soon))
	return conn
}

// path is how a flow reached its server.
type path string

const (
	byKernel path = "forwarded by the kernel"
	byRelay  path = "relayed, and direct"
	byNode   path = "through the node"
)

// pathOf tells by what a server saw of a client's socket. The kernel's NAT
// keeps a free source port, and there is none for IPv6; the daemon's own
// sockets are the router's, with a port of their own.
func (h *home) pathOf(local net.Addr, seen netip.AddrPort) path {
	var client netip.AddrPort
	switch a := local.(type) {
	case *net.TCPAddr:
		client = a.AddrPort()
	case *net.UDPAddr:
		client = a.AddrPort()
	}
	switch {
	case h.At.Node.Is(seen.Addr()):
		return byNode
	case seen == at(h.At.RouterWAN.V4, client.Port()), seen.Addr().Is6() && seen == client:
		return byKernel
	case h.At.RouterWAN.Is(seen.Addr()):
		return byRelay
	}
	return path("from " + seen.String())
}

// tcpPath says hello to an echo server and tells how it got there.
func (h *home) tcpPath(t *testing.T, c *lab.Client, addr netip.Addr) path {
	t.Helper()
	p, err := h.tryTCP(c, addr)
	if err != nil {
		t.Fatalf("%s talking to %s over TCP: %v", c.Name, addr, err)
	}
	return p
}

func (h *home) tryTCP(c *lab.Client, addr netip.Addr) (path, error) {
	conn, err := c.DialTCP(h.ctx(), at(addr, lab.EchoPort))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(soon))
	seen, err := hello(conn)
	if err != nil {
		return "", err
	}
	return h.pathOf(conn.LocalAddr(), seen), nil
}

// hello speaks first on a connection to an echo server and gives whom the
// server saw.
func hello(conn net.Conn) (netip.AddrPort, error) {
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return netip.AddrPort{}, err
	}
	r := bufio.NewReader(conn)
	seen, err := r.ReadString('\n')
	if err != nil {
		return netip.AddrPort{}, err
	}
	if echo, err := r.ReadString('\n'); err != nil || echo != "hello\n" {
		return netip.AddrPort{}, fmt.Errorf("the echo is %q, %v", echo, err)
	}
	return netip.ParseAddrPort(strings.TrimSpace(seen))
}

// udpPath sends a datagram to an echo server and tells how it got there.
func (h *home) udpPath(t *testing.T, c *lab.Client, addr netip.Addr) path {
	t.Helper()
	p, err := h.tryUDP(c, addr)
	if err != nil {
		t.Fatalf("%s talking to %s over UDP: %v", c.Name, addr, err)
	}
	return p
}

func (h *home) tryUDP(c *lab.Client, addr netip.Addr) (path, error) {
	conn, err := c.DialUDP(h.ctx(), at(addr, lab.EchoPort))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(soon))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return "", err
	}
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	if err != nil {
		return "", err
	}
	seen, err := echoed(string(buf[:n]), "hello")
	if err != nil {
		return "", err
	}
	return h.pathOf(conn.LocalAddr(), seen), nil
}

// echoed reads a UDP echo server's answer: whom it saw.
func echoed(answer, sent string) (netip.AddrPort, error) {
	seen, rest, _ := strings.Cut(answer, " ")
	if rest != sent {
		return netip.AddrPort{}, fmt.Errorf("the echo is %q, want %q", rest, sent)
	}
	return netip.ParseAddrPort(seen)
}

// wantPath checks a way for TCP and UDP alike.
func (h *home) wantPath(t *testing.T, c *lab.Client, addr netip.Addr, want path) {
	t.Helper()
	if got := h.tcpPath(t, c, addr); got != want {
		t.Errorf("%s reached %s over TCP %s, want %s", c.Name, addr, got, want)
	}
	if got := h.udpPath(t, c, addr); got != want {
		t.Errorf("%s reached %s over UDP %s, want %s", c.Name, addr, got, want)
	}
}

// refused tells that a connection attempt or an exchange ended by a reset or an
// ICMP error, not by silence.
func refused(err error) bool {
	for _, e := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// wantRefused checks that TCP and UDP to an address are refused at once.
func (h *home) wantRefused(t *testing.T, c *lab.Client, addr netip.Addr) {
	t.Helper()
	began := time.Now()
	if p, err := h.tryTCP(c, addr); !refused(err) {
		t.Errorf("%s talking to %s over TCP: %s, %v; want a refusal", c.Name, addr, p, err)
	}
	if p, err := h.tryUDP(c, addr); !refused(err) {
		t.Errorf("%s talking to %s over UDP: %s, %v; want a refusal", c.Name, addr, p, err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("%s was refused by %s after %v, want at once", c.Name, addr, took)
	}
}

// status asks the daemon.
func (h *home) status(t *testing.T) status {
	t.Helper()
	var s status
	ok(t, ask(h.config, "status", &s))
	return s
}

// wantIdle checks that the daemon carried nothing through an outbound so far.
func (h *home) wantIdle(t *testing.T, outbound string) {
	t.Helper()
	if s := h.status(t); s.Outbounds[outbound] != (outboundStatus{State: "unused"}) || s.Flows != (flowStatus{}) {
		t.Errorf("the daemon carried flows through %s: %+v, under way: %+v; want none", outbound, s.Outbounds[outbound], s.Flows)
	}
}

// until waits for something that tells nobody when it comes.
func until(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	const interval = 10 * time.Millisecond
	deadline := time.After(within)
	poll := time.NewTicker(interval)
	defer poll.Stop()
	for !done() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// flowLine waits for the log line of the flow that a client's socket was, and
// gives its fields.
func (h *home) flowLine(t *testing.T, local net.Addr) map[string]string {
	t.Helper()
	mine := "client=" + local.String() + " "
	ok(t, h.daemon.WaitLog(h.ctx(), mine))
	lines := h.flowLines(mine)
	if len(lines) != 1 {
		t.Fatalf("the log has %d lines of the flow of %s, want one:\n%s", len(lines), local, strings.Join(lines, "\n"))
	}
	return fields(lines[0])
}

func (h *home) flowLines(containing string) (lines []string) {
	for _, line := range strings.Split(h.daemon.Log(), "\n") {
		if strings.Contains(line, "msg=flow ") && strings.Contains(line, containing) {
			lines = append(lines, line)
		}
	}
	return lines
}

// fields of a line of log/slog's text handler; values with spaces are cut.
func fields(line string) map[string]string {
	all := make(map[string]string)
	for _, word := range strings.Fields(line) {
		if key, value, ok := strings.Cut(word, "="); ok {
			all[key] = strings.Trim(value, `"`)
		}
	}
	return all
}

// listen serves TCP on an address of the internet: each connection by serve.
func (h *home) listen(t *testing.T, ns *nstest.NS, addr netip.AddrPort, serve func(*net.TCPConn)) {
	t.Helper()
	l, err := ns.ListenTCP(addr)
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			go serve(c)
		}
	}()
}

// rewrite changes the configuration file and has the daemon read it.
func (h *home) rewrite(t *testing.T, c lab.Config) {
	t.Helper()
	h.configure(h.ConfigText(c))
	ok(t, ask(h.config, "reload", nil))
}

// guest is a device on a network of the router's own, apart from the LAN.
func (h *home) guest(t *testing.T, dev string) *lab.Client {
	t.Helper()
	ns, err := nstest.New(dev)
	ok(t, err)
	t.Cleanup(func() { ns.Close() })
	ok(t, nstest.Veth(nstest.End{NS: h.Router, Dev: dev}, nstest.End{NS: ns, Dev: "eth0"}))
	c := &lab.Client{Name: "guest", NS: ns, Dev: "eth0",
		Addr4: netip.MustParseAddr("192.168.78.11"), Addr6: netip.MustParseAddr("2001:db8:78::11")}
	for _, n := range []struct{ router, guest, all string }{
		{"192.168.78.1/24", "192.168.78.11/24", "0.0.0.0/0"},
		{"2001:db8:78::1/64", "2001:db8:78::11/64", "::/0"},
	} {
		router := netip.MustParsePrefix(n.router)
		ok(t, h.Router.Addr(dev, router))
		ok(t, ns.Addr("eth0", netip.MustParsePrefix(n.guest)))
		ok(t, ns.Route(netip.MustParsePrefix(n.all), router.Addr()))
	}
	ok(t, h.Internet.Route(netip.MustParsePrefix("2001:db8:78::/64"), h.At.RouterWAN.V6))
	return c
}

// isTimeout tells that a deadline passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
