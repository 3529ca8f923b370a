package upstream

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// conns are the open connections that an upstream keeps for later questions.
type conns struct {
	mu   sync.Mutex // guards the field below
	open map[*keptConn]struct{}
}

// keptConn is a conn that ends with its upstream.
type keptConn struct {
	net.Conn
	release func()
}

// keep makes a conn end with the upstream, or with Drop.
func (e *env) keep(conn net.Conn) net.Conn {
	k := &keptConn{Conn: conn}
	stop := context.AfterFunc(e.ctx, func() { conn.Close() })
	k.release = func() {
		stop()
		e.conns.mu.Lock()
		defer e.conns.mu.Unlock()
		delete(e.conns.open, k)
	}
	e.conns.mu.Lock()
	defer e.conns.mu.Unlock()
	if e.conns.open == nil {
		e.conns.open = make(map[*keptConn]struct{})
	}
	e.conns.open[k] = struct{}{}
	return k
}

// Close ends the conn.
func (k *keptConn) Close() error {
	k.release()
	return k.Conn.Close()
}

// Drop closes the kept connections that began at an address which is lost, as
// that of a WAN that was dialled anew is: nobody would answer, and the next
// question would take a while to find out. Questions under way are asked again.
func (u *Upstream) Drop(lost func(netip.Addr) bool) {
	u.env.conns.drop(lost)
	if u.boot != nil {
		u.boot.servers.Drop(lost)
	}
}

func (c *conns) drop(lost func(netip.Addr) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.open {
		if from, err := netip.ParseAddrPort(k.LocalAddr().String()); err == nil && lost(from.Addr().Unmap()) {
			k.Conn.Close() // whoever reads it hears of it, and closes k
		}
	}
}
