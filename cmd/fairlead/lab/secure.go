package lab

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"

	"github.com/fairlead/fairlead/nft/nstest"
)

// SecureResolver answers as rightly as the honest one, but over TLS only.
type SecureResolver struct {
	resolver
	accepts  atomic.Int64
	versions record[string]
}

// Accepts counts the connections so far.
func (s *SecureResolver) Accepts() int { return int(s.accepts.Load()) }

// Log is every question that it was asked.
func (s *SecureResolver) Log() []Query { return s.log.all() }

// HTTPVersions are those of the requests that asked over HTTPS.
func (s *SecureResolver) HTTPVersions() []string { return s.versions.all() }

// ServeDoT starts a resolver for DNS over TLS (RFC 7858), until Close.
func (w *World) ServeDoT(ns *nstest.NS, at netip.AddrPort, certificate tls.Certificate) (*SecureResolver, error) {
	s, l, err := w.secure(ns, at)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.accept(l, func(c net.Conn) {
		s.accepts.Add(1)
		s.stream("tls", tls.Server(c, config))
	})
	return s, nil
}

// ServeDoH starts a resolver for DNS over HTTPS (RFC 8484), until Close.
func (w *World) ServeDoH(ns *nstest.NS, at netip.AddrPort, certificate tls.Certificate) (*SecureResolver, error) {
	s, l, err := w.secure(ns, at)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler:   http.HandlerFunc(s.post),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		ErrorLog:  log.New(io.Discard, "", 0), // clients that refuse the certificate are expected
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.accepts.Add(1)
			}
		},
	}
	if !s.run(server, func() { server.ServeTLS(l, "", "") }) {
		return nil, net.ErrClosed
	}
	return s, nil
}

func (w *World) secure(ns *nstest.NS, at netip.AddrPort) (*SecureResolver, *net.TCPListener, error) {
	l, err := ns.ListenTCP(at)
	if err != nil {
		return nil, nil, fmt.Errorf("starting the encrypted resolver: %w", err)
	}
	s := &SecureResolver{resolver: resolver{answer: w.honest.answer}}
	w.later(s.close)
	return s, l, nil
}

func (s *SecureResolver) post(w http.ResponseWriter, r *http.Request) {
	query, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil || r.Method != http.MethodPost {
		http.Error(w, "a question is posted", http.StatusBadRequest)
		return
	}
	s.versions.add(r.Proto)
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	server := addrPort(r.Context().Value(http.LocalAddrContextKey).(net.Addr))
	if reply := s.reply("https", from, server, query); reply != nil {
		w.Header().Set("Content-Type", "application/dns-message")
		w.Write(reply)
	}
}
