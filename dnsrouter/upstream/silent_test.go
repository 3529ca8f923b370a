package upstream

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a node in the time of a bubble, by which one server is reached.
type slow struct {
	way    // its connections
	scheme string
	ca     *authority
	seen   *record
	accept func(net.Conn) // the server's end of a connection, until it closes

	heard           atomic.Uint32
	greets, reaches time.Duration // until it says something, and from there to the server
}

func (s *slow) Heard() uint32 { return s.heard.Load() }

func (s *slow) DialTCP(ctx context.Context, _ string, _ netip.AddrPort) (net.Conn, error) {
	if err := pass(ctx, s.greets); err != nil {
		return nil, err
	}
	s.heard.Add(1)
	if err := pass(ctx, s.reaches); err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	go s.accept(buffer(there))
	m := &mute{Conn: bound{here}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, m)
	return m, nil
}

func (s *slow) DialUDP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	return s.DialTCP(ctx, host, to)
}

// bound is an end of net.Pipe that has an address.
type bound struct{ net.Conn }

func (bound) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// buffered is an end of net.Pipe that nobody has to read from at once.
type buffered struct {
	net.Conn
	out   chan []byte
	end   context.Context
	ended func()
}

func buffer(c net.Conn) buffered {
	end, ended := context.WithCancel(context.Background())
	b := buffered{c, make(chan []byte, 16), end, ended}
	go func() {
		for end.Err() == nil {
			select {
			case p := <-b.out:
				c.Write(p)
			case <-end.Done():
			}
		}
	}()
	return b
}

func (b buffered) Write(p []byte) (int, error) {
	select {
	case b.out <- slices.Clone(p):
		return len(p), nil
	case <-b.end.Done():
		return 0, net.ErrClosed
	}
}

func (b buffered) Close() error { b.ended(); return b.Conn.Close() }

// pass lets time go by.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// late and never are how long answers for names take that begin with "late" and
// with "lost".
const (
	late  = 3 * time.Second
	never = time.Hour
)

// bySlowNode runs a test with each kind of server behind a node, which takes some
// time for an answer.
func bySlowNode(t *testing.T, answering time.Duration, test func(t *testing.T, node *slow, u *Upstream)) {
	for _, scheme := range []string{"udp", "tcp", "tls", "https"} {
		t.Run(scheme, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := &slow{scheme: scheme, ca: newAuthority(t)}
				node.serve(t, func(a asked) [][]byte {
					took := answering
					switch name, _, _ := strings.Cut(strings.ToLower(a.msg.Question[0].Name), "."); name {
					case "late":
						took = late
					case "lost":
						took = never
					}
					pass(t.Context(), took)
					return [][]byte{a.reply(right, nil)}
				})
				server := Server{Scheme: scheme, Host: "dns.test", Addr: netip.MustParseAddrPort("192.0.2.53:443")}
				test(t, node, open(t, node, Options{TLS: node.ca.client()}, server))
			})
		})
	}
}

func (s *slow) serve(t *testing.T, h handler) {
	s.seen = new(record)
	switch s.scheme {
	case "udp":
		s.accept = func(c net.Conn) { serveConn(c, false, s.seen, h) }
	case "tcp":
		s.accept = func(c net.Conn) { serveConn(c, true, s.seen, h) }
	case "tls":
		config := s.ca.server(t, "dns.test")
		s.accept = func(c net.Conn) { serveConn(tls.Server(c, config), true, s.seen, h) }
	case "https":
		accepted := listener{make(chan net.Conn), make(chan struct{})}
		s.accept = func(c net.Conn) { accepted.conns <- c }
		server := &http.Server{Handler: web(s.seen, h), TLSConfig: s.ca.server(t, "dns.test")}
		server.TLSConfig.NextProtos = []string{"h2"}
		go server.ServeTLS(accepted, "", "")
		t.Cleanup(func() { server.Close() })
	}
}

// serveConn answers questions as soon as their answers are there.
func serveConn(c net.Conn, stream bool, seen *record, h handler) {
	defer c.Close()
	for buf := make([]byte, 4096); ; {
		query, err := readOne(c, stream, buf)
		if err != nil {
			return
		}
		if a, ok := newAsked(query, c.RemoteAddr()); ok {
			seen.add(a)
			go func() {
				for _, msg := range h(a) {
					if stream {
						msg = framed(msg)
					}
					c.Write(msg)
				}
			}()
		}
	}
}

func readOne(c net.Conn, stream bool, buf []byte) ([]byte, error) {
	if !stream {
		n, err := c.Read(buf)
		return buf[:n], err
	}
	if _, err := io.ReadFull(c, buf[:2]); err != nil {
		return nil, err
	}
	query := buf[:binary.BigEndian.Uint16(buf)]
	_, err := io.ReadFull(c, query)
	return query, err
}

// listener hands over ends of net.Pipe.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p listener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p listener) Close() error   { close(p.closed); return nil }
func (p listener) Addr() net.Addr { return &net.TCPAddr{} }

// vanish makes the node say nothing any more.
func (s *slow) vanish() {
	s.halfOpen()
	s.greets = never
}

// wantSilence asks and wants to be told in time that the node is silent.
func wantSilence(t *testing.T, u *Upstream, name string) {
	t.Helper()
	began := time.Now()
	_, err := u.Exchange(t.Context(), question(name))
	if took := time.Since(began); !errors.Is(err, errSilent) || took > 2*time.Second {
		t.Errorf("Exchange(%q) = %v after %s, want %v after 2s at most", name, err, took, errSilent)
	}
}

func TestASilentNodeIsKnownToBeSoon(t *testing.T) {
	bySlowNode(t, 0, func(t *testing.T, node *slow, u *Upstream) {
		node.vanish()
		wantSilence(t, u, "a.example")
		wantSilence(t, u, "b.example") // while it is still being dialled
	})
}

func TestANodeThatFallsSilentIsKnownToBeSoon(t *testing.T) {
	bySlowNode(t, 0, func(t *testing.T, node *slow, u *Upstream) {
		wantAddress(t, u, "a.example", right)
		node.vanish()
		wantSilence(t, u, "b.example")
		wantSilence(t, u, "c.example")
	})
}

func TestASlowNodeThatLivesIsWaitedFor(t *testing.T) {
	bySlowNode(t, time.Second, func(t *testing.T, node *slow, u *Upstream) {
		node.greets, node.reaches = 1500*time.Millisecond, time.Second
		wantAddress(t, u, "a.example", right)
	})
}

func TestANodeThatAnswersOthersIsNotSilent(t *testing.T) {
	bySlowNode(t, 0, func(t *testing.T, node *slow, u *Upstream) {
		wantAddress(t, u, "a.example", right)
		var asking sync.WaitGroup
		asking.Go(func() { wantAddress(t, u, "late.example", right) })
		pass(t.Context(), silence/2)
		node.greets = never // by its words alone it would be dead
		wantAddress(t, u, "b.example", right)
		asking.Wait()
	})
}

func TestAHalfOpenConnectionByASlowNodeIsReplacedInTime(t *testing.T) {
	bySlowNode(t, 300*time.Millisecond, func(t *testing.T, node *slow, u *Upstream) {
		node.greets, node.reaches = 600*time.Millisecond, 600*time.Millisecond
		wantAddress(t, u, "a.example", right)
		node.halfOpen()
		wantAddress(t, u, "b.example", right)
	})
}

func TestAConnectionInDoubtMayStillAnswer(t *testing.T) {
	bySlowNode(t, silence+time.Second/2, func(t *testing.T, node *slow, u *Upstream) {
		wantAddress(t, u, "a.example", right)
		node.greets, node.reaches = time.Second/4, time.Second
		began := time.Now()
		wantAddress(t, u, "b.example", right)
		if took, want := time.Since(began), silence+time.Second/2; took != want {
			t.Errorf("the answer took %s, want the server's own %s", took, want)
		}
	})
}

func TestAConnectionThatNeverAnsweredIsNotUsedForEver(t *testing.T) {
	bySlowNode(t, 0, func(t *testing.T, node *slow, u *Upstream) {
		if _, err := u.Exchange(t.Context(), question("lost.example")); err == nil {
			t.Fatal("the first question was answered")
		}
		node.halfOpen()
		wantAddress(t, u, "a.example", right)
	})
}
