package lab

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
)

// servers is sockets being served, and what is done on their connections.
type servers struct {
	wg sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	open   map[io.Closer]bool
	closed bool
}

// accept serves the connections of a listener, each by a goroutine, until close.
func (s *servers) accept(l net.Listener, serve func(net.Conn)) {
	s.run(l, func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.run(c, func() { serve(c) })
		}
	})
}

// receive serves the datagrams of a socket, one after the other, until close.
func (s *servers) receive(c *net.UDPConn, serve func(datagram []byte, from netip.AddrPort)) {
	s.run(c, func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil: // an ICMP error of an earlier answer
				continue
			}
			serve(buf[:n], unmap(from))
		}
	})
}

// run does f on a goroutine of its own; c is closed when f ends, or by close.
// After close f is not run.
func (s *servers) run(c io.Closer, f func()) (running bool) {
	if !s.add(c) {
		c.Close()
		return false
	}
	go func() {
		defer s.wg.Done()
		defer s.remove(c)
		f()
	}()
	return true
}

func (s *servers) add(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[io.Closer]bool)
	}
	s.open[c] = true
	s.wg.Add(1)
	return true
}

func (s *servers) remove(c io.Closer) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// close closes every socket and waits until nobody uses one.
func (s *servers) close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// addrPort is a socket address as net gives it.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}
