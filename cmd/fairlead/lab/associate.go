package lab

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// association is a UDP ASSOCIATE: datagrams pass between a socket for the
// client and one for the rest of the world, as long as the connection that
// asked for it is open.
type association struct {
	proxy  *proxy
	inner  *net.UDPConn // the client's side
	outer4 *net.UDPConn // the world's side
	outer6 *net.UDPConn
	owner  netip.Addr                     // only this client may use it
	client atomic.Pointer[netip.AddrPort] // where it sent from last
}

func (p *proxy) associate(live *servers, c net.Conn) {
	a := &association{proxy: p, owner: addrPort(c.RemoteAddr()).Addr()}
	var socks servers
	defer socks.close()
	if err := a.open(addrPort(c.LocalAddr()).Addr()); err != nil {
		a.close()
		writeReply(c, replyGeneral, netip.AddrPort{})
		return
	}
	relay := addrPort(a.inner.LocalAddr())
	p.mu.Lock()
	p.relays[relay] = true
	p.mu.Unlock()

	socks.receive(a.inner, a.fromClient)
	for _, outer := range []*net.UDPConn{a.outer4, a.outer6} {
		socks.receive(outer, a.toClient)
	}
	if writeReply(c, replyOK, relay) == nil {
		io.Copy(io.Discard, c) // until the client closes, or the node is stopped
	}
}

func (a *association) open(at netip.Addr) (err error) {
	ns := a.proxy.ns
	if a.inner, err = ns.ListenUDP(netip.AddrPortFrom(at, 0)); err != nil {
		return err
	}
	if a.outer4, err = ns.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 0)); err != nil {
		return err
	}
	a.outer6, err = ns.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 0))
	return err
}

func (a *association) close() {
	for _, c := range []*net.UDPConn{a.inner, a.outer4, a.outer6} {
		if c != nil {
			c.Close()
		}
	}
}

// fromClient passes a datagram on to the target that its header names.
func (a *association) fromClient(b []byte, from netip.AddrPort) {
	if from.Addr() != a.owner || len(b) < udpHeaderBase || b[2] != 0 {
		return // others', broken, or a fragment (which a server need not take)
	}
	r := bytes.NewReader(b[udpHeaderBase:])
	target, err := readTarget(r)
	if err != nil {
		return
	}
	a.client.Store(&from)
	a.proxy.log.add(Visit{Time: time.Now(), Network: "udp", From: from, Target: target})
	addrs, err := a.proxy.lookup(target)
	if err != nil {
		return
	}
	payload := b[len(b)-r.Len():]
	outer := a.outer4
	if addrs[0].Addr().Is6() {
		outer = a.outer6
	}
	outer.WriteToUDPAddrPort(payload, addrs[0])
}

// toClient passes a datagram back with the address it came from.
func (a *association) toClient(b []byte, from netip.AddrPort) {
	if client := a.client.Load(); client != nil {
		a.inner.WriteToUDPAddrPort(append(appendTarget(make([]byte, udpHeaderBase), from), b...), *client)
	}
}
