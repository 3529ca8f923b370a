//go:build !tiny

package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

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
