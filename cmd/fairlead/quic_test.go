//go:build quic

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// answerQUIC answers the question of a stream or of a request with one address.
func answerQUIC(query []byte, addr netip.Addr) []byte {
	m, reply := new(dns.Msg), new(dns.Msg)
	if m.Unpack(query) != nil || len(m.Question) != 1 {
		return nil
	}
	reply.SetReply(m)
	rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN A %s", m.Question[0].Name, addr))
	if err == nil && m.Question[0].Qtype == dns.TypeA {
		reply.Answer = []dns.RR{rr}
	}
	b, _ := reply.Pack()
	return b
}

// serveDoQ answers every question on a socket, and counts the connections.
func serveDoQ(t *testing.T, socket *net.UDPConn, certificate tls.Certificate, addr netip.Addr, calls *atomic.Int64) {
	ln, err := quic.Listen(socket, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"doq"}}, nil)
	ok(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			calls.Add(1)
			go func() {
				for {
					stream, err := conn.AcceptStream(context.Background())
					if err != nil {
						return
					}
					query, _ := io.ReadAll(stream)
					if len(query) > 2 {
						reply := answerQUIC(query[2:], addr)
						stream.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...))
					}
					stream.Close()
				}
			}()
		}
	}()
}

// serveH3 is serveDoQ over HTTP/3.
func serveH3(t *testing.T, socket *net.UDPConn, certificate tls.Certificate, addr netip.Addr, calls *atomic.Int64) {
	server := &http3.Server{
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{certificate}}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			query, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "application/dns-message")
			w.Write(answerQUIC(query, addr))
		}),
		ConnContext: func(ctx context.Context, _ *quic.Conn) context.Context { calls.Add(1); return ctx },
	}
	t.Cleanup(func() { server.Close() })
	go server.Serve(socket)
}

func TestAnUpstreamOverQUICIsReachedByEveryOutboundThatCarriesUDP(t *testing.T) {
	serve := map[string]func(*testing.T, *net.UDPConn, tls.Certificate, netip.Addr, *atomic.Int64){"quic": serveDoQ, "h3": serveH3}
	for _, e := range []encrypted{{"quic", "direct"}, {"quic", "node"}, {"h3", "direct"}, {"h3", "node"}} {
		t.Run(e.String(), func(t *testing.T) {
			h := newHouse(t, lab.Options{})
			ns, where := e.place(h)
			authority, err := h.Authority()
			ok(t, err)
			certificate, err := authority.Certificate(where.Addr().String(), time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
			ok(t, err)
			var socket *net.UDPConn
			ok(t, ns.Do(func() (err error) {
				socket, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(where))
				return err
			}))
			t.Cleanup(func() { socket.Close() })
			var calls atomic.Int64
			serve[e.scheme](t, socket, certificate, h.At.Foreign.V4, &calls)
			h.configure(replaced(h.ConfigText(lab.Config{}), "list server '"+h.At.Honest.V4.String()+"'\n\toption outbound 'node'",
				fmt.Sprintf("list server '%s://%s'\n\toption outbound '%s'", e.scheme, where, e.outbound)))
			p := newProbe(t, h)
			h.startWith(t, "SSL_CERT_FILE="+authority.File)
			for i := range 3 {
				a := p.ask("tv", fmt.Sprintf("n%d.%s", i, p.name()), lab.TypeA)
				if len(a.Addrs) != 1 || a.Addrs[0] != h.At.Foreign.V4 {
					t.Errorf("the answer is %v, want %s", a.Addrs, h.At.Foreign.V4)
				}
			}
			if got := calls.Load(); got != 1 {
				t.Errorf("%d connections, want one that is kept", got)
			}
			for _, leak := range p.leaks(nil) {
				t.Errorf("leak: %s", leak)
			}
		})
	}
}
