package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

// SOCKS5 (RFC 1928) and its user and password method (RFC 1929).
const (
	socksVersion  = 5
	methodUser    = 2
	methodNone    = 0xff
	authVersion   = 1
	cmdConnect    = 1
	cmdAssociate  = 3
	addrIPv4      = 1
	addrName      = 3
	addrIPv6      = 4
	replyOK       = 0
	replyGeneral  = 1
	replyRefused  = 5
	replyCommand  = 7
	udpHeaderBase = 3 // reserved, reserved, fragment
)

// proxy is the node's SOCKS5 server.
type proxy struct {
	ns      *nstest.NS
	at      Pair
	resolve func(name string, qtype uint16) (rcode int, answers []Record)
	log     record[Visit]

	mu     sync.Mutex // guards the fields below
	live   *servers   // nil while stopped
	relays map[netip.AddrPort]bool
}

func newProxy(ns *nstest.NS, at Pair, resolve func(string, uint16) (int, []Record)) *proxy {
	return &proxy{ns: ns, at: at, resolve: resolve, relays: make(map[netip.AddrPort]bool)}
}

func (p *proxy) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live != nil {
		return nil
	}
	live := new(servers)
	for _, addr := range []netip.Addr{p.at.V4, p.at.V6} {
		l, err := p.ns.ListenTCP(netip.AddrPortFrom(addr, SOCKSPort))
		if err != nil {
			live.close()
			return fmt.Errorf("starting the node: %w", err)
		}
		live.accept(l, func(c net.Conn) { p.serve(live, c) })
	}
	p.live = live
	return nil
}

func (p *proxy) stop() error {
	p.mu.Lock()
	live := p.live
	p.live = nil
	p.mu.Unlock()
	if live == nil {
		return nil
	}
	return live.close()
}

// inside tells whether a socket address is one that the node serves its clients on.
func (p *proxy) inside(proto uint8, at netip.AddrPort) bool {
	if proto == nstest.TCP {
		return p.at.Is(at.Addr()) && at.Port() == SOCKSPort
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.relays[at]
}

func (p *proxy) serve(live *servers, c net.Conn) {
	if authenticate(c) != nil {
		return
	}
	command, target, err := readRequest(c)
	if err != nil {
		return
	}
	switch command {
	case cmdConnect:
		p.connect(live, c, target)
	case cmdAssociate:
		p.associate(live, c)
	default:
		writeReply(c, replyCommand, netip.AddrPort{})
	}
}

func (p *proxy) connect(live *servers, c net.Conn, target string) {
	p.log.add(Visit{Time: time.Now(), Network: "tcp", From: addrPort(c.RemoteAddr()), Target: target})
	up, err := p.dial(target)
	if err != nil {
		writeReply(c, replyRefused, netip.AddrPort{})
		return
	}
	if writeReply(c, replyOK, addrPort(up.LocalAddr())) != nil {
		up.Close()
		return
	}
	done := make(chan struct{})
	running := live.run(up, func() {
		defer close(done)
		io.Copy(c, up)
		closeWrite(c)
	})
	if !running {
		return
	}
	io.Copy(up, c)
	closeWrite(up)
	<-done
}

func (p *proxy) dial(target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	addrs, err := p.lookup(target)
	if err != nil {
		return nil, err
	}
	return p.ns.Dial(ctx, "tcp", netip.AddrPort{}, addrs[0])
}

// lookup finds the addresses of host:port, IPv4 first.
func (p *proxy) lookup(target string) (addrs []netip.AddrPort, err error) {
	if at, err := netip.ParseAddrPort(target); err == nil {
		return []netip.AddrPort{at}, nil
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	for _, qtype := range []uint16{TypeA, TypeAAAA} {
		_, records := p.resolve(host, qtype)
		for _, r := range records {
			if addr, ok := r.addr(); ok {
				addrs = append(addrs, netip.AddrPortFrom(addr, uint16(number)))
			}
		}
	}
	if addrs == nil {
		return nil, fmt.Errorf("%s has no address", host)
	}
	return addrs, nil
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

// authenticate asks for the user and the password.
func authenticate(c net.Conn) error {
	methods, err := readCounted(c, socksVersion)
	if err != nil {
		return err
	}
	method := byte(methodNone)
	for _, m := range methods {
		if m == methodUser {
			method = methodUser
		}
	}
	if _, err := c.Write([]byte{socksVersion, method}); err != nil || method == methodNone {
		return errors.Join(err, errMethod(method))
	}
	user, err := readCounted(c, authVersion)
	if err != nil {
		return err
	}
	password, err := readString(c)
	if err != nil {
		return err
	}
	if string(user) != User || password != Password {
		c.Write([]byte{authVersion, replyGeneral})
		return errors.New("wrong user or password")
	}
	_, err = c.Write([]byte{authVersion, replyOK})
	return err
}

func errMethod(method byte) error {
	if method == methodNone {
		return errors.New("no method in common")
	}
	return nil
}

// readCounted reads a version, a length and so many bytes.
func readCounted(r io.Reader, version byte) ([]byte, error) {
	var got [1]byte
	if _, err := io.ReadFull(r, got[:]); err != nil {
		return nil, err
	}
	if got[0] != version {
		return nil, fmt.Errorf("version %d, want %d", got[0], version)
	}
	s, err := readString(r)
	return []byte(s), err
}

func readString(r io.Reader) (string, error) {
	var length [1]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return "", err
	}
	b := make([]byte, length[0])
	_, err := io.ReadFull(r, b)
	return string(b), err
}

func readRequest(r io.Reader) (command byte, target string, err error) {
	var head [3]byte // version, command, reserved
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, "", err
	}
	if head[0] != socksVersion {
		return 0, "", fmt.Errorf("version %d, want %d", head[0], socksVersion)
	}
	target, err = readTarget(r)
	return head[1], target, err
}

// readTarget reads an address type, an address or a name, and a port.
func readTarget(r io.Reader) (string, error) {
	var kind [1]byte
	if _, err := io.ReadFull(r, kind[:]); err != nil {
		return "", err
	}
	var host string
	switch kind[0] {
	case addrName:
		name, err := readString(r)
		if err != nil {
			return "", err
		}
		host = name
	case addrIPv4, addrIPv6:
		b := make([]byte, map[byte]int{addrIPv4: 4, addrIPv6: 16}[kind[0]])
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		addr, _ := netip.AddrFromSlice(b)
		host = addr.String()
	default:
		return "", fmt.Errorf("address type %d", kind[0])
	}
	var port [2]byte
	if _, err := io.ReadFull(r, port[:]); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:])))), nil
}

func appendTarget(b []byte, at netip.AddrPort) []byte {
	addr := at.Addr()
	if !addr.IsValid() {
		addr = netip.IPv4Unspecified()
	}
	kind := byte(addrIPv4)
	if addr.Is6() {
		kind = addrIPv6
	}
	b = append(append(b, kind), addr.AsSlice()...)
	return binary.BigEndian.AppendUint16(b, at.Port())
}

func writeReply(c net.Conn, reply byte, bound netip.AddrPort) error {
	_, err := c.Write(appendTarget([]byte{socksVersion, reply, 0}, bound))
	return err
}
