//go:build quic && !tiny

package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// overQUIC tests the transports that only this build has.
func overQUIC(t *testing.T, test func(*testing.T, string, netip.AddrPort, *authority, *record)) {
	t.Run("quic", func(t *testing.T) {
		ca := newAuthority(t)
		addr, s := serveQUIC(t, ca, answers(right))
		test(t, "quic", addr, ca, &s.record)
	})
	t.Run("h3", func(t *testing.T) {
		ca := newAuthority(t)
		addr, seen := serveH3(t, ca, answers(right))
		test(t, "h3", addr, ca, seen)
	})
}

// calls is a server of DNS over QUIC.
type calls struct {
	record
	handle handler

	mu     sync.Mutex // guards the fields below
	states []quic.ConnectionState
	conns  []*quic.Conn
}

// serveQUIC runs one called dns.test until the test ends.
func serveQUIC(t testing.TB, a *authority, h handler) (netip.AddrPort, *calls) {
	t.Helper()
	config := a.server(t, "dns.test")
	config.NextProtos = []string{"doq"}
	ln, err := quic.ListenAddr("127.0.0.1:0", config, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &calls{handle: h}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); s.hangUp(); all.Wait() })
	return ln.Addr().(*net.UDPAddr).AddrPort(), s
}

func (s *calls) serve(conn *quic.Conn) {
	defer conn.CloseWithError(0, "")
	s.mu.Lock()
	s.states = append(s.states, conn.ConnectionState())
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	for {
		stream, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go s.answer(stream, conn.RemoteAddr())
	}
}

// answer reads up to the end of the question, as a server must (RFC 9250
// section 4.2).
func (s *calls) answer(stream *quic.Stream, from net.Addr) {
	msg, err := io.ReadAll(stream)
	if err != nil || len(msg) < 2 {
		return
	}
	a, ok := newAsked(msg[2:], from)
	if !ok {
		return
	}
	s.add(a)
	replies := s.handle(a)
	for _, reply := range replies {
		stream.Write(framed(reply))
	}
	if len(replies) > 0 {
		stream.Close()
	}
}

func (s *calls) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.CloseWithError(0, "")
	}
}

func (s *calls) handshakes() []quic.ConnectionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states
}

// serveH3 runs a server of DNS over HTTP/3 called dns.test until the test ends.
func serveH3(t testing.TB, a *authority, h handler) (netip.AddrPort, *record) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var seen record
	server := &http3.Server{Handler: only3(web(&seen, h)), TLSConfig: http3.ConfigureTLSConfig(a.server(t, "dns.test"))}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(conn) }()
	t.Cleanup(func() { server.Close(); conn.Close(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), &seen
}

func only3(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 3 {
			http.Error(w, "not by HTTP/3", http.StatusHTTPVersionNotSupported)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func TestQUICIdleConnectionClosesAndItsTLSSessionIsResumed(t *testing.T) {
	ca := newAuthority(t)
	addr, s := serveQUIC(t, ca, answers(right))
	u := New(Config{Name: "test", Servers: []Server{{Scheme: "quic", Host: "dns.test", Addr: addr}}}, &way{}, Options{TLS: ca.client()})
	t.Cleanup(u.Close)
	u.env.idle = time.Second // a handshake and a question have to fit
	wantAddress(t, u, "a.example", right)
	eventually(t, "the idle connection is closed", func() bool { return u.env.conns.count() == 0 })
	wantAddress(t, u, "b.example", right)
	states := s.handshakes()
	if len(states) != 2 || states[0].TLS.DidResume || !states[1].TLS.DidResume {
		t.Fatalf("%d handshakes, want a full one and a resumed one", len(states))
	}
	if got := states[1].Used0RTT; got {
		t.Error("a question was sent as early data, which can be replayed")
	}
	if got, want := states[0].TLS.NegotiatedProtocol, "doq"; got != want {
		t.Errorf("protocol %q, want %q", got, want)
	}
}

func TestQUICManyQuestionsShareAConnection(t *testing.T) {
	const n = 50
	all, release := make(chan struct{}, n), make(chan struct{})
	ca := newAuthority(t)
	addr, s := serveQUIC(t, ca, func(a asked) [][]byte {
		all <- struct{}{}
		<-release
		return answers(right)(a)
	})
	u := open(t, &way{}, Options{TLS: ca.client()}, Server{Scheme: "quic", Host: "dns.test", Addr: addr})
	var asking sync.WaitGroup
	for i := range n {
		asking.Go(func() { wantAddress(t, u, string(rune('a'+i%26))+string(rune('a'+i/26))+".example", right) })
	}
	for range n {
		<-all
	}
	close(release)
	asking.Wait()
	if got := len(s.handshakes()); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

func TestQUICAnswersThatAreNoneAreErrors(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"two answers":      func(b []byte) []byte { return append(b, framed(b)...) },
		"a truncated one":  func(b []byte) []byte { b[2] |= 2; return b },
		"another question": func(b []byte) []byte { b[13]++; return b },
		"too much":         func(b []byte) []byte { return append(b, make([]byte, 1<<16)...) },
	} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			addr, _ := serveQUIC(t, ca, func(a asked) [][]byte { return [][]byte{change(a.reply(forged, nil))} })
			u := open(t, &way{}, Options{TLS: ca.client()}, Server{Scheme: "quic", Host: "dns.test", Addr: addr})
			if answer, err := u.Exchange(within(t, 5*time.Second), question("a.example")); err == nil {
				t.Errorf("Exchange gave % x, want an error", answer)
			}
		})
	}
}

func TestQUICClosesWithItsUpstream(t *testing.T) {
	ca := newAuthority(t)
	stuck, _ := serveQUIC(t, ca, silent)
	web, _ := serveH3(t, ca, silent)
	u := New(Config{Name: "test", Servers: []Server{
		{Scheme: "quic", Host: "dns.test", Addr: stuck}, {Scheme: "h3", Host: "dns.test", Addr: web},
	}}, &way{}, Options{TLS: ca.client()})
	failed := make(chan error, 1)
	go func() {
		_, err := u.Exchange(context.Background(), question("a.example"))
		failed <- err
	}()
	eventually(t, "both were asked", func() bool { return u.env.count.asked.Load() == 2 && u.env.conns.count() == 2 })
	u.Close()
	if err := <-failed; err == nil {
		t.Error("Exchange gave an answer, want an error")
	}
	eventually(t, "all sockets are closed", func() bool { return u.env.conns.count() == 0 })
}

func FuzzUnframed(f *testing.F) {
	m := new(dns.Msg)
	m.SetQuestion("a.example.", dns.TypeA)
	query, _ := m.Pack()
	m.Response = true
	answer, _ := m.Pack()
	f.Add(framed(answer))
	f.Fuzz(func(t *testing.T, stream []byte) {
		answer, err := unframed(stream, query)
		if err == nil && len(answer) != len(stream)-2 {
			t.Errorf("%d octets of %d", len(answer), len(stream))
		}
	})
}
