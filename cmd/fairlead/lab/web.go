package lab

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"time"
)

// Seen is what a web server says about a request.
type Seen struct {
	Server netip.AddrPort // the address that was reached
	Client netip.AddrPort // who connected
	Host   string         // of the Host header
	SNI    string         // of the TLS hello; empty without TLS
}

// web is the internet's servers for everything but DNS.
type web struct {
	servers
	tls *tls.Config
}

// serveWeb starts HTTP, TLS, echo and banner servers on every web address.
func (w *World) serveWeb(certificate tls.Certificate) error {
	s := &web{tls: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	w.later(s.close)
	for _, host := range w.At.web() {
		for _, addr := range []netip.Addr{host.V4, host.V6} {
			if err := w.serveHost(s, addr); err != nil {
				return fmt.Errorf("starting the servers of %s: %w", addr, err)
			}
		}
	}
	return nil
}

func (w *World) serveHost(s *web, addr netip.Addr) error {
	for port, serve := range map[uint16]func(net.Conn){
		80: s.http, 443: s.https, EchoPort: echo, BannerPort: banner,
	} {
		l, err := w.Internet.ListenTCP(netip.AddrPortFrom(addr, port))
		if err != nil {
			return err
		}
		s.accept(l, serve)
	}
	c, err := w.Internet.ListenUDP(netip.AddrPortFrom(addr, EchoPort))
	if err != nil {
		return err
	}
	s.receive(c, func(b []byte, from netip.AddrPort) {
		c.WriteToUDPAddrPort(append([]byte(from.String()+" "), b...), from)
	})
	return nil
}

func (s *web) https(c net.Conn) {
	secure := tls.Server(c, s.tls)
	if secure.Handshake() != nil {
		return
	}
	s.answer(secure, secure.ConnectionState().ServerName)
	secure.Close()
}

func (s *web) http(c net.Conn) { s.answer(c, "") }

// answer serves one HTTP/1 request.
func (s *web) answer(c net.Conn, sni string) {
	r := textproto.NewReader(bufio.NewReader(c))
	if _, err := r.ReadLine(); err != nil {
		return
	}
	header, err := r.ReadMIMEHeader()
	if err != nil {
		return
	}
	body, err := json.Marshal(Seen{
		Server: addrPort(c.LocalAddr()), Client: addrPort(c.RemoteAddr()),
		Host: header.Get("Host"), SNI: sni,
	})
	if err != nil {
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// echo waits for the client to speak.
func echo(c net.Conn) {
	r := bufio.NewReader(c)
	if _, err := r.Peek(1); err != nil {
		return
	}
	fmt.Fprintln(c, c.RemoteAddr())
	r.WriteTo(c)
}

// banner speaks first.
func banner(c net.Conn) {
	fmt.Fprintln(c, c.RemoteAddr())
	io.Copy(c, c)
}

// request asks for a URL's path on a connection to whoever serves its host.
func request(c net.Conn, host string) (Seen, error) {
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		return Seen{}, fmt.Errorf("sending the request: %w", err)
	}
	reply, err := io.ReadAll(c)
	if err != nil {
		return Seen{}, fmt.Errorf("reading the reply: %w", err)
	}
	status, body, ok := bytes.Cut(reply, []byte("\r\n\r\n"))
	if !ok || !strings.HasPrefix(string(status), "HTTP/1.1 200 ") {
		return Seen{}, fmt.Errorf("reading the reply: got %q", reply)
	}
	var seen Seen
	if err := json.Unmarshal(body, &seen); err != nil {
		return Seen{}, fmt.Errorf("reading the reply: %w", err)
	}
	return seen, nil
}

// certificateName is in the certificate of all the world's TLS servers.
const certificateName = "the whole internet"

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{certificateName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
