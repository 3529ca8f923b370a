package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
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
	sent, received := make(chan struct{}), make(chan struct{})
	running := live.run(up, func() {
		defer close(received)
		io.Copy(c, up)
		closeWrite(c)
		<-sent // up is closed when this ends, and the client may have more to say
	})
	if !running {
		return
	}
	io.Copy(up, c)
	closeWrite(up)
	close(sent)
	<-received
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
