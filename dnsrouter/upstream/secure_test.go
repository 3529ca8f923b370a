package upstream

import (
	"bytes"
	"context"
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
	"sync/atomic"
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

func TestAWebServerThatAnswersOtherwiseIsAnError(t *testing.T) {
	ca := newAuthority(t)
	for name, body := range map[string]func(asked) []byte{
		"garbage": func(asked) []byte { return []byte("<html>") },
		"another question": func(a asked) []byte {
			return a.reply(forged, func(m *dns.Msg) { m.Question[0].Name = "other.example." })
		},
		"a truncated one": func(a asked) []byte { return a.reply(forged, func(m *dns.Msg) { m.Truncated = true }) },
		"too much":        func(a asked) []byte { return bytes.Repeat(a.reply(forged, nil), 2000) },
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := serveWeb(t, ca, "dns.test", func(a asked) [][]byte { return [][]byte{body(a)} })
			u := open(t, &way{}, Options{TLS: ca.client()}, Server{Scheme: "https", Host: "dns.test", Addr: addr})
			if answer, err := u.Exchange(within(t, 5*time.Second), question("a.example")); err == nil {
				t.Errorf("Exchange gave % x, want an error", answer)
			}
		})
	}
}

func TestAWebServerThatHasHTTP1OnlyIsAskedSeveralQuestionsAtOnce(t *testing.T) {
	var asking atomic.Int32
	together := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, _ := io.ReadAll(r.Body)
		q := asked{query: query, msg: new(dns.Msg)}
		q.msg.Unpack(query)
		if q.msg.Question[0].Name != "first.example." {
			if asking.Add(1) == oneByOne {
				close(together)
			}
			select {
			case <-together:
			case <-r.Context().Done():
				return
			}
		}
		w.Header().Set("Content-Type", mediaType)
		w.Write(q.reply(right, nil))
	}))
	ca := newAuthority(t)
	server.TLS = ca.server(t, "dns.test")
	server.TLS.NextProtos = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	addr := netip.MustParseAddrPort(server.Listener.Addr().String())
	u := open(t, &way{}, Options{TLS: ca.client()}, Server{Scheme: "https", Host: "dns.test", Addr: addr})
	wantAddress(t, u, "first.example", right)
	var all sync.WaitGroup
	for i := range oneByOne {
		all.Go(func() {
			if _, err := u.Exchange(context.Background(), question(fmt.Sprintf("n%d.example", i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAQuestionIsPostedWhereTheConfigurationSays(t *testing.T) {
	for _, tt := range []struct {
		cfg        Server
		host, path string
	}{
		{Server{Host: "dns.test", Addr: netip.MustParseAddrPort("192.0.2.1:443")}, "dns.test", "/dns-query"},
		{Server{Host: "dns.test", Addr: netip.MustParseAddrPort("192.0.2.1:8443"), Path: "/q"}, "dns.test:8443", "/q"},
		{Server{Host: "dns.test", Addr: netip.MustParseAddrPort("192.0.2.1:443"), Path: "/q%2Fr?user=a%20b"}, "dns.test", "/q%2Fr?user=a%20b"},
		{Server{Addr: netip.MustParseAddrPort("192.0.2.1:443")}, "192.0.2.1", "/dns-query"},
		{Server{Addr: netip.MustParseAddrPort("[2001:db8::1]:443")}, "[2001:db8::1]", "/dns-query"},
		{Server{Host: "2001:db8::1", Addr: netip.MustParseAddrPort("[2001:db8::1]:443")}, "[2001:db8::1]", "/dns-query"},
		{Server{Host: "2001:db8::1", Addr: netip.MustParseAddrPort("[2001:db8::1]:8443")}, "[2001:db8::1]:8443", "/dns-query"},
	} {
		req, err := http.NewRequest(http.MethodPost, (&target{cfg: tt.cfg}).url(), nil)
		if err != nil {
			t.Errorf("a request to %+v: %v", tt.cfg, err)
			continue
		}
		if req.URL.Host != tt.host || req.URL.RequestURI() != tt.path {
			t.Errorf("a question to %+v is posted to %s at %s, want %s at %s", tt.cfg, req.URL.RequestURI(), req.URL.Host, tt.path, tt.host)
		}
	}
}

func TestOnlyTheServersNameIsAskedOfBootstrap(t *testing.T) {
	ca := newAuthority(t)
	loopback := netip.MustParseAddr("127.0.0.1")
	boot, bootSaw := serveUDP(t, func(a asked) [][]byte {
		if a.msg.Question[0].Qtype == dns.TypeAAAA {
			return fails(dns.RcodeSuccess)(a)
		}
		return answers(loopback)(a)
	})
	for _, scheme := range []string{"tls", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var addr netip.AddrPort
			if scheme == "tls" {
				addr, _ = serveTCP(t, anyPort, ca.server(t, "dns.test"), answers(right))
			} else {
				addr, _ = serveWeb(t, ca, "dns.test", answers(right))
			}
			before := len(bootSaw.all())
			d, bootDialer := &way{}, &way{}
			u := New(Config{
				Name:      "test",
				Servers:   []Server{{Scheme: scheme, Host: "dns.test", Addr: netip.AddrPortFrom(netip.Addr{}, addr.Port())}},
				Bootstrap: []netip.AddrPort{boot},
			}, d, Options{TLS: ca.client(), BootstrapDialer: bootDialer})
			t.Cleanup(u.Close)
			for i := range 5 {
				wantAddress(t, u, fmt.Sprintf("secret%d.example", i), right)
			}
			list := bootSaw.all()[before:]
			for _, a := range list {
				if got := strings.ToLower(a.msg.Question[0].Name); got != "dns.test." {
					t.Errorf("bootstrap was asked for %q", got)
				}
			}
			if got, want := len(list), 2; got != want {
				t.Errorf("bootstrap was asked %d times, want %d: A and AAAA, once", got, want)
			}
			if _, udp := d.dialled(); udp != 0 {
				t.Errorf("%d datagram sockets through the outbound, want 0", udp)
			}
			if tcp, _ := bootDialer.dialled(); tcp != 0 {
				t.Errorf("%d TCP connections beside the outbound, want 0", tcp)
			}
		})
	}
}

func TestTheLastKnownAddressOutlivesBootstrap(t *testing.T) {
	var mu sync.Mutex
	h := answers(right)
	boot, _ := serveUDP(t, func(a asked) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		return h(a)
	})
	b := newBootstrap(Config{Bootstrap: []netip.AddrPort{boot}}, &way{}, Options{})
	t.Cleanup(b.servers.Close)
	if _, err := b.lookup(within(t, 5*time.Second), "dns.test"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	h = fails(dns.RcodeServerFailure)
	mu.Unlock()
	known := b.hosts["dns.test"]
	known.until = time.Now()
	b.hosts["dns.test"] = known
	if got, err := b.lookup(within(t, 5*time.Second), "dns.test"); err != nil || got[0] != right {
		t.Errorf("lookup = %v, %v, want %v", got, err, right)
	}
	if _, err := b.lookup(within(t, 5*time.Second), "other.test"); err == nil {
		t.Error("a host never known has an address, want an error")
	}
}

func TestAServerByNameWithoutBootstrapIsAnError(t *testing.T) {
	d := &way{}
	u := open(t, d, Options{}, Server{Scheme: "tls", Host: "dns.test", Addr: netip.AddrPortFrom(netip.Addr{}, 853)})
	if _, err := u.Exchange(within(t, 5*time.Second), question("a.example")); err == nil || !strings.Contains(err.Error(), "no bootstrap server") {
		t.Errorf("Exchange = %v, want one that names the missing bootstrap server", err)
	}
	if tcp, udp := d.dialled(); tcp+udp != 0 {
		t.Errorf("%d dials, want 0", tcp+udp)
	}
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
