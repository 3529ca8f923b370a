package outbound

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

const patience = 10 * time.Second

// A testNode is a SOCKS5 server of its own making, which can misbehave.
type testNode struct {
	user, password string
	reply          []byte                                            // sent for every request, then it hangs up; nil: serve
	cut            int                                               // hangs up after so many bytes to the client; 0: never
	stall          bool                                              // accepts and never answers
	bound          func(netip.AddrPort) []byte                       // the endpoint an association is told; nil: the relay's
	answer         func(header, payload []byte) (datagrams [][]byte) // of the relay; nil: echo

	listener *net.TCPListener
	asked    chan endpoint // what CONNECT named
	sent     chan []byte   // header of each datagram that the relay got
	released chan struct{} // gets one for each mapping that ended

	mu    sync.Mutex // guards the field below
	conns []*net.TCPConn
}

func (n *testNode) start(t testing.TB) *SOCKS5 {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	n.released = make(chan struct{}, 64)
	n.listener, n.asked, n.sent = l, make(chan endpoint, 64), make(chan []byte, 1024)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.conns = append(n.conns, c)
			n.mu.Unlock()
			serving.Go(func() { defer c.Close(); n.serve(c) })
		}
	})
	t.Cleanup(func() { n.die(); serving.Wait() })
	return NewSOCKS5(n.config(), 0, nil)
}

func (n *testNode) config() Config {
	at := n.listener.Addr().(*net.TCPAddr).AddrPort()
	return Config{Server: at.Addr().String(), Port: at.Port(), Username: n.user, Password: n.password}
}

// die closes everything that the node has open.
func (n *testNode) die() {
	n.listener.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.Close()
	}
}

// cutter hangs up after a number of bytes.
type cutter struct {
	*net.TCPConn
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) >= c.left {
		c.TCPConn.Write(b[:c.left])
		c.TCPConn.CloseWrite()
		io.Copy(io.Discard, c.TCPConn)
		return 0, io.ErrClosedPipe
	}
	c.left -= len(b)
	return c.TCPConn.Write(b)
}

func (n *testNode) serve(c *net.TCPConn) {
	if n.stall {
		io.Copy(io.Discard, c)
		return
	}
	var w io.Writer = c
	if n.cut > 0 {
		w = &cutter{c, n.cut}
	}
	command, to, err := n.handshake(c, w)
	if err != nil {
		return
	}
	n.asked <- to
	switch {
	case n.reply != nil:
		w.Write(n.reply)
		c.CloseWrite()
		io.Copy(io.Discard, c)
	case command == commandConnect:
		w.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		io.Copy(w, c)
	case command == commandAssociate:
		n.serveUDP(c, w)
	}
}

func (n *testNode) handshake(r io.Reader, w io.Writer) (command byte, to endpoint, err error) {
	b := make([]byte, 600)
	if _, err = io.ReadFull(r, b[:2]); err != nil {
		return
	}
	if _, err = io.ReadFull(r, b[2:2+b[1]]); err != nil {
		return
	}
	if n.user == "" {
		_, err = w.Write([]byte{5, methodNone})
	} else {
		err = n.checkPassword(r, w, b)
	}
	if err != nil {
		return
	}
	if _, err = io.ReadFull(r, b[:5]); err != nil {
		return
	}
	size, err := endpointSize(b[3], b[4])
	if err != nil {
		return
	}
	if _, err = io.ReadFull(r, b[5:3+size]); err != nil {
		return
	}
	to, _, err = parseEndpoint(b[3 : 3+size])
	return b[1], to, err
}

func (n *testNode) checkPassword(r io.Reader, w io.Writer, b []byte) error {
	if _, err := w.Write([]byte{5, methodPassword}); err != nil {
		return err
	}
	io.ReadFull(r, b[:2])
	user := make([]byte, b[1])
	io.ReadFull(r, user)
	io.ReadFull(r, b[:1])
	password := make([]byte, b[0])
	if _, err := io.ReadFull(r, password); err != nil {
		return err
	}
	if string(user) != n.user || string(password) != n.password {
		w.Write([]byte{1, 1})
		return io.ErrUnexpectedEOF
	}
	_, err := w.Write([]byte{1, 0})
	return err
}

// serveUDP relays until the control connection ends.
func (n *testNode) serveUDP(c *net.TCPConn, w io.Writer) {
	relay, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return
	}
	defer func() { relay.Close(); n.released <- struct{}{} }()
	at := relay.LocalAddr().(*net.UDPAddr).AddrPort()
	told, _ := appendEndpoint(nil, "", at)
	if n.bound != nil {
		told = n.bound(at)
	}
	go n.relayDatagrams(relay)
	w.Write(append([]byte{5, 0, 0}, told...))
	io.Copy(io.Discard, c)
}

func (n *testNode) relayDatagrams(relay *net.UDPConn) {
	b := make([]byte, 64<<10)
	for {
		size, from, err := relay.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		_, payload, err := parseDatagram(b[:size])
		if err != nil {
			continue
		}
		header := append([]byte(nil), b[:size-len(payload)]...)
		n.sent <- header
		if n.answer == nil {
			relay.WriteToUDPAddrPort(b[:size], from)
			continue
		}
		for _, d := range n.answer(header, payload) {
			relay.WriteToUDPAddrPort(d, from)
		}
	}
}

// wire is a datagram header for the source of an answer.
func wire(t testing.TB, host string, from netip.AddrPort, payload string) []byte {
	t.Helper()
	b, err := appendDatagramHeader(nil, host, from)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, payload...)
}

// soon is a context that ends with the test or after patience.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// resolver is a Resolver with fixed answers.
type resolver map[string][]netip.Addr

func (r resolver) LookupHost(_ context.Context, host string) ([]netip.Addr, error) {
	if addrs, ok := r[host]; ok {
		return addrs, nil
	}
	return nil, errNoSuch
}

func addrs(s ...string) (list []netip.Addr) {
	for _, a := range s {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}
