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
	env     *env
	release func()
}

// borrowed are the conns of questions under way, each of which is its question's
// alone.
type borrowed struct {
	mu     sync.Mutex // guards the fields below
	of     map[Lent]struct{}
	closed bool
}

// enter takes note of a conn, which close closes until it has left. After close
// none may enter.
func (b *borrowed) enter(conn Lent) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	if b.of == nil {
		b.of = make(map[Lent]struct{})
	}
	b.of[conn] = struct{}{}
	return true
}

// leave tells whether nobody has closed the conn.
func (b *borrowed) leave(conn Lent) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, conn)
	return !b.closed
}

func (b *borrowed) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for conn := range b.of {
		conn.Close()
	}
}

// keep makes a conn end with the upstream, or with Drop.
func (e *env) keep(conn net.Conn) net.Conn {
	k := &keptConn{Conn: conn, env: e}
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

// Read takes note that somebody is there.
func (k *keptConn) Read(b []byte) (int, error) {
	n, err := k.Conn.Read(b)
	if n > 0 {
		k.env.heard.Add(1)
	}
	return n, err
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
