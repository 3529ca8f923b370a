package upstream

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/miekg/dns"
)

var right = netip.MustParseAddr("192.0.2.1")

// asked is a question that a server of the tests received.
type asked struct {
	query []byte
	msg   *dns.Msg
	from  netip.AddrPort
}

// reply is an answer with one address, written by another library.
func (a asked) reply(addr netip.Addr, change func(*dns.Msg)) []byte {
	m := new(dns.Msg)
	m.SetReply(a.msg)
	m.SetEdns0(1232, false)
	m.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: a.msg.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
		A:   addr.AsSlice(),
	}}
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// handler answers a question with any number of messages, none for silence.
type handler func(asked) [][]byte

// refusal is the answer of a server that does not like the question.
func (a asked) refusal(rcode int) []byte {
	raw, err := new(dns.Msg).SetRcode(a.msg, rcode).Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

func answers(addr netip.Addr) handler {
	return func(a asked) [][]byte { return [][]byte{a.reply(addr, nil)} }
}

func fails(rcode int) handler {
	return func(a asked) [][]byte {
		return [][]byte{a.reply(right, func(m *dns.Msg) { m.Rcode, m.Answer = rcode, nil })}
	}
}

func silent(asked) [][]byte { return nil }

// record keeps what a server was asked.
type record struct {
	mu   sync.Mutex // guards the fields below
	list []asked
}

func (r *record) add(a asked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, a)
}

func (r *record) all() []asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

func newAsked(query []byte, from net.Addr) (asked, bool) {
	m := new(dns.Msg)
	if m.Unpack(query) != nil || len(m.Question) != 1 {
		return asked{}, false
	}
	addr, _ := netip.ParseAddrPort(from.String())
	return asked{slices.Clone(query), m, addr}, true
}

// serveUDP runs a server on loopback until the test ends.
func serveUDP(t testing.TB, h handler) (netip.AddrPort, *record) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	return serveDatagrams(t, conn, h)
}

// serveBoth runs a server of UDP and one of TCP on the same port of loopback.
func serveBoth(t testing.TB, datagrams, connections handler) (netip.AddrPort, *record, *streams) {
	t.Helper()
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().(*net.TCPAddr).AddrPort()
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if errors.Is(err, syscall.EADDRINUSE) { // the port of UDP is another test's
			ln.Close()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, r := serveDatagrams(t, conn, datagrams)
		_, s := serveStreams(t, ln, nil, connections)
		return addr, r, s
	}
}

func serveDatagrams(t testing.TB, conn *net.UDPConn, h handler) (netip.AddrPort, *record) {
	var r record
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			a, ok := newAsked(buf[:n], net.UDPAddrFromAddrPort(from))
			if !ok {
				continue
			}
			r.add(a)
			for _, msg := range h(a) {
				conn.WriteToUDPAddrPort(msg, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), &r
}

// serveTCP runs a server on addr (port 0 for any) until the test ends; config
// makes it one of TLS.
func serveTCP(t testing.TB, addr netip.AddrPort, config *tls.Config, h handler) (netip.AddrPort, *streams) {
	t.Helper()
	ln, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return serveStreams(t, ln, config, h)
}

func serveStreams(t testing.TB, ln net.Listener, config *tls.Config, h handler) (netip.AddrPort, *streams) {
	s := &streams{t: t, handle: h, config: config}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); s.closeAll(); all.Wait() })
	return ln.Addr().(*net.TCPAddr).AddrPort(), s
}

// streams is a server of TCP or TLS.
type streams struct {
	record
	t      testing.TB
	handle handler
	config *tls.Config
	once   bool // one answer for each connection

	mu      sync.Mutex // guards the fields below
	conns   []net.Conn
	states  []tls.ConnectionState
	stopped bool
}

func (s *streams) serve(raw net.Conn) {
	defer raw.Close()
	conn := raw
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return
	}
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	if s.config != nil {
		secure := tls.Server(conn, s.config)
		if secure.Handshake() != nil {
			return
		}
		s.mu.Lock()
		s.states = append(s.states, secure.ConnectionState())
		s.mu.Unlock()
		conn = secure
	}
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		a, ok := newAsked(query, conn.RemoteAddr())
		if !ok {
			return
		}
		s.add(a)
		for _, msg := range s.handle(a) {
			conn.Write(binary.BigEndian.AppendUint16(nil, uint16(len(msg))))
			conn.Write(msg)
			if s.once {
				raw.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, raw) // a close with questions unread would take the answer along
				return
			}
		}
	}
}

func (s *streams) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, c := range s.conns {
		c.Close()
	}
}

func (s *streams) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *streams) handshakes() []tls.ConnectionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.states)
}

// way is a Dialer over loopback that counts, and can leave its connections
// half-open.
type way struct {
	mu       sync.Mutex // guards the fields below
	tcp, udp int
	hosts    []string
	conns    []*mute
}

func (w *way) DialTCP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to.String())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tcp++
	w.hosts = append(w.hosts, host)
	if err != nil {
		return nil, err
	}
	m := &mute{Conn: c}
	w.conns = append(w.conns, m)
	return m, nil
}

func (w *way) DialUDP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.udp++
	w.hosts = append(w.hosts, host)
	w.mu.Unlock()
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return nil, err
	}
	m := &mute{Conn: c}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, m)
	return m, nil
}

func (w *way) dialled() (tcp, udp int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tcp, w.udp
}

// halfOpen makes the peers of all connections unreachable without a word.
func (w *way) halfOpen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.mu.Lock()
		c.dead = true
		c.mu.Unlock()
	}
}

// node is a way by another machine.
type node struct{ *way }

func (node) Heard() uint32 { return 0 }

// mute is a connection whose writes can be made to reach nobody.
type mute struct {
	net.Conn
	mu   sync.Mutex // guards dead
	dead bool
}

func (m *mute) Write(b []byte) (int, error) {
	m.mu.Lock()
	dead := m.dead
	m.mu.Unlock()
	if dead {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

// open makes an Upstream of the servers, which ends with the test.
func open(t testing.TB, d Dialer, opts Options, servers ...Server) *Upstream {
	t.Helper()
	u := New(Config{Name: "test", Servers: servers}, d, opts)
	t.Cleanup(u.Close)
	return u
}

func udp(addr netip.AddrPort) Server { return Server{Scheme: "udp", Addr: addr} }

func question(name string) Question {
	return Question{Name: name, Type: wire.TypeA, Class: wire.ClassIN}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// address asks for a name and returns the one address of the answer.
func address(t testing.TB, u *Upstream, name string) netip.Addr {
	t.Helper()
	answer, err := u.Exchange(within(t, 5*time.Second), question(name))
	if err != nil {
		t.Errorf("Exchange(%q): %v", name, err)
		return netip.Addr{}
	}
	r, err := wire.ParseResponse(answer)
	if err != nil {
		t.Errorf("answer for %q: %v", name, err)
		return netip.Addr{}
	}
	addrs := r.AppendAddrs(nil)
	if len(addrs) != 1 {
		t.Errorf("answer for %q has addresses %v, want one", name, addrs)
		return netip.Addr{}
	}
	return addrs[0]
}

func wantAddress(t testing.TB, u *Upstream, name string, want netip.Addr) {
	t.Helper()
	if got := address(t, u, name); got != want {
		t.Errorf("address of %s = %v, want %v", name, got, want)
	}
}

// eventually waits for what other goroutines bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}
