package upstream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

// serveWeb runs a DoH server until the test ends; silence is a request that is
// not answered before it ends.
func serveWeb(t testing.TB, a *authority, name string, h handler) (netip.AddrPort, *record) {
	t.Helper()
	var seen record
	server := httptest.NewUnstartedServer(web(&seen, h))
	server.TLS = a.server(t, name)
	server.TLS.NextProtos = nil
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return netip.MustParseAddrPort(server.Listener.Addr().String()), &seen
}

// web answers questions in requests.
func web(seen *record, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query, _ := io.ReadAll(r.Body)
		m := new(dns.Msg)
		if r.Method != "POST" || r.ProtoMajor < 2 || r.URL.Path != "/dns-query" || r.Header.Get("Content-Type") != "application/dns-message" ||
			r.Header.Get("User-Agent") != "" || m.Unpack(query) != nil {
			http.Error(w, "no such thing", http.StatusBadRequest)
			return
		}
		q := asked{query: query, msg: m}
		seen.add(q)
		for _, msg := range h(q) {
			w.Header().Set("Content-Type", "application/dns-message")
			w.Write(msg)
			return
		}
		<-r.Context().Done()
	}
}

// secureServers are the encrypted transports with the same behaviour.
func secureServers(t *testing.T, test func(t *testing.T, scheme string, addr netip.AddrPort, ca *authority, seen *record)) {
	t.Run("tls", func(t *testing.T) {
		ca := newAuthority(t)
		addr, s := serveTCP(t, anyPort, ca.server(t, "dns.test"), answers(right))
		test(t, "tls", addr, ca, &s.record)
	})
	t.Run("https", func(t *testing.T) {
		ca := newAuthority(t)
		addr, seen := serveWeb(t, ca, "dns.test", answers(right))
		test(t, "https", addr, ca, seen)
	})
	overQUIC(t, test)
}

// overConnections fails unless the questions went over n connections, and none went in
// the clear.
func overConnections(t *testing.T, d *way, scheme string, n int) {
	t.Helper()
	wantTCP, wantUDP := n, 0
	if scheme == "quic" || scheme == "h3" {
		wantTCP, wantUDP = 0, n
	}
	if tcp, udp := d.dialled(); tcp != wantTCP || udp != wantUDP {
		t.Errorf("%d connections over TCP and %d over UDP, want %d and %d", tcp, udp, wantTCP, wantUDP)
	}
}

func TestEncryptedQuestionsArePaddedOverOneConnection(t *testing.T) {
	secureServers(t, func(t *testing.T, scheme string, addr netip.AddrPort, ca *authority, seen *record) {
		d := &way{}
		u := open(t, d, Options{TLS: ca.client()}, Server{Scheme: scheme, Host: "dns.test", Addr: addr})
		for i := range 5 {
			wantAddress(t, u, fmt.Sprintf("n%d.%s.example", i, strings.Repeat("x", 7*i+1)), right)
		}
		for _, a := range seen.all() {
			if got := len(a.query); got%128 != 0 {
				t.Errorf("a query has %d octets, want a multiple of 128", got)
			}
			if scheme != "tls" && a.msg.Id != 0 {
				t.Errorf("a query over %s has id %d, want 0", scheme, a.msg.Id)
			}
		}
		overConnections(t, d, scheme, 1)
	})
}

func TestACertificateForAnotherNameIsRefused(t *testing.T) {
	secureServers(t, func(t *testing.T, scheme string, addr netip.AddrPort, ca *authority, seen *record) {
		var out lockedBuffer
		d := &way{}
		u := open(t, d, Options{TLS: ca.client(), Log: slog.New(slog.NewTextHandler(&out, nil))}, Server{Scheme: scheme, Host: "other.test", Addr: addr})
		for i := range 3 {
			_, err := u.Exchange(within(t, 5*time.Second), question(fmt.Sprintf("n%d.example", i)))
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
				t.Errorf("Exchange = %v, want an error of the certificate", err)
			}
		}
		if got := len(seen.all()); got != 0 {
			t.Errorf("the server was asked %d times, want 0", got)
		}
		if tcp, udp := d.dialled(); tcp != 0 && udp != 0 {
			t.Errorf("%d connections over TCP and %d over UDP, want those of the scheme only", tcp, udp)
		}
		if got := strings.Count(out.String(), "level=WARN"); got != 1 {
			t.Errorf("%d warnings, want 1:\n%s", got, out.String())
		}
	})
}

func TestAClockInThePastIsAFailureThatNamesTheClock(t *testing.T) {
	secureServers(t, func(t *testing.T, scheme string, addr netip.AddrPort, ca *authority, seen *record) {
		var out lockedBuffer
		d, trust := &way{}, ca.client()
		trust.Time = func() time.Time { return time.Unix(0, 0) }
		u := open(t, d, Options{TLS: trust, Log: slog.New(slog.NewTextHandler(&out, nil))}, Server{Scheme: scheme, Host: "dns.test", Addr: addr})
		if _, err := u.Exchange(within(t, 5*time.Second), question("a.example")); !errors.Is(err, ErrClock) {
			t.Errorf("Exchange = %v, want %v", err, ErrClock)
		}
		if got := out.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "clock=") {
			t.Errorf("the log has\n%s\nwant one warning that names the clock", got)
		}
		if asked := len(seen.all()); asked != 0 {
			t.Errorf("the server was asked %d times, want 0", asked)
		}
		trust = ca.client()
		trust.Time = time.Now // the build's, say
		wantAddress(t, open(t, d, Options{TLS: trust}, Server{Scheme: scheme, Host: "dns.test", Addr: addr}), "a.example", right)
	})
}

func TestAnErrorOfTheClockIsNotHiddenByALaterOne(t *testing.T) {
	ca := newAuthority(t)
	addr, _ := serveTCP(t, anyPort, ca.server(t, "dns.test"), answers(right))
	trust := ca.client()
	trust.Time = func() time.Time { return time.Unix(0, 0) }
	closed := netip.MustParseAddrPort("127.0.0.1:1")
	u := open(t, &way{}, Options{TLS: trust}, Server{Scheme: "tls", Host: "dns.test", Addr: addr}, Server{Scheme: "tls", Host: "dns.test", Addr: closed})
	if _, err := u.Exchange(within(t, 5*time.Second), question("a.example")); !errors.Is(err, ErrClock) {
		t.Errorf("Exchange = %v, want %v", err, ErrClock)
	}
}

func TestAHalfOpenConnectionIsDialledAgainOnce(t *testing.T) {
	secureServers(t, func(t *testing.T, scheme string, addr netip.AddrPort, ca *authority, seen *record) {
		t.Parallel()
		d := &way{}
		u := open(t, d, Options{TLS: ca.client()}, Server{Scheme: scheme, Host: "dns.test", Addr: addr})
		wantAddress(t, u, "a.example", right)
		d.halfOpen()
		start := time.Now()
		wantAddress(t, u, "b.example", right)
		if took := time.Since(start); took > totalTime-time.Second {
			t.Errorf("took %v, want about %v", took, silence)
		}
		overConnections(t, d, scheme, 2)
	})
}

func TestAServerIsKnownByItsAddressWithoutAName(t *testing.T) {
	ca := newAuthority(t)
	addr, _ := serveTCP(t, netip.MustParseAddrPort("127.0.0.9:0"), ca.server(t, "dns.test"), answers(right))
	u := open(t, &way{}, Options{TLS: ca.client()}, Server{Scheme: "tls", Addr: addr})
	wantAddress(t, u, "a.example", right)
}

func TestAnIdleConnectionClosesAndItsTLSSessionIsResumed(t *testing.T) {
	ca := newAuthority(t)
	addr, s := serveTCP(t, anyPort, ca.server(t, "dns.test"), answers(right))
	u := New(Config{Name: "test", Servers: []Server{{Scheme: "tls", Host: "dns.test", Addr: addr}}}, &way{}, Options{TLS: ca.client()})
	t.Cleanup(u.Close)
	usual := u.env.idle
	wantAddress(t, u, "a.example", right)
	u.env.idle = 20 * time.Millisecond // from the end of the next question on
	wantAddress(t, u, "b.example", right)
	dot := u.current()[0].way.(*kept)
	eventually(t, "the idle connection is closed", func() bool {
		dot.mu.Lock()
		defer dot.mu.Unlock()
		return dot.line == nil
	})
	u.env.idle = usual
	wantAddress(t, u, "c.example", right)
	states := s.handshakes()
	if len(states) != 2 || states[0].DidResume || !states[1].DidResume {
		t.Fatalf("%d handshakes, want a full one and a resumed one", len(states))
	}
	if got, want := states[0].NegotiatedProtocol, "dot"; got != want {
		t.Errorf("protocol %q, want %q", got, want)
	}
}

func TestManyQuestionsShareAConnectionInAnyOrder(t *testing.T) {
	const n = 50
	var mu sync.Mutex
	var held [][]byte
	addr, s := serveTCP(t, anyPort, nil, func(a asked) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		held = append([][]byte{a.reply(right, nil)}, held...)
		if len(held) < n {
			return nil
		}
		return held
	})
	u := open(t, &way{}, Options{}, Server{Scheme: "tcp", Addr: addr})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { wantAddress(t, u, fmt.Sprintf("n%d.example", i), right) })
	}
	all.Wait()
	if got, want := s.connections(), 1; got != want {
		t.Errorf("%d connections, want %d", got, want)
	}
}

func TestAServerOfOneAnswerForEachConnectionIsDialledAgain(t *testing.T) {
	addr, s := serveTCP(t, anyPort, nil, answers(right))
	s.once = true
	u := open(t, &way{}, Options{}, Server{Scheme: "tcp", Addr: addr})
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() { wantAddress(t, u, fmt.Sprintf("n%d.example", i), right) })
	}
	all.Wait()
}

func TestAServerThatEndsEachConnectionWithoutAnAnswerIsNotDialledForEver(t *testing.T) {
	addr, server := serveTCP(t, anyPort, nil, func(a asked) [][]byte {
		return [][]byte{a.reply(forged, func(m *dns.Msg) { m.Id++ })}
	})
	server.once = true
	d := &way{}
	u := open(t, d, Options{}, Server{Scheme: "tcp", Addr: addr})
	if _, err := u.Exchange(within(t, 5*time.Second), question("www.example.com")); err == nil {
		t.Error("an answer to another question was taken")
	}
	if tcp, _ := d.dialled(); tcp > 1 {
		t.Errorf("the server was dialled %d times for a question, want once", tcp)
	}
}

func TestAStreamsWrongAnswersAreIgnored(t *testing.T) {
	addr, _ := serveTCP(t, anyPort, nil, func(a asked) [][]byte {
		return [][]byte{
			a.reply(forged, func(m *dns.Msg) { m.Id++ }),
			a.reply(forged, func(m *dns.Msg) { m.Question[0].Name = "other.example." }),
			{},
			a.reply(right, nil),
		}
	})
	u := open(t, &way{}, Options{}, Server{Scheme: "tcp", Addr: addr})
	wantAddress(t, u, "a.example", right)
}

// lockedBuffer takes a log from several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
