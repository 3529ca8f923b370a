// Package tproxy opens the transparent sockets of the gateway: listeners that
// accept what nftables diverts to them, with the destination that the client
// meant, and a sender that answers from addresses that are not ours.
//
// The kernel side is described in Documentation/networking/tproxy.rst.
package tproxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenTCP opens a transparent listener on addr, which is a loopback address,
// so that nothing but a tproxy rule can reach it. The local address of an
// accepted connection is the one that the client dialled.
func ListenTCP(ctx context.Context, addr netip.AddrPort) (*net.TCPListener, error) {
	lc := net.ListenConfig{
		Control: control(addr.Addr(), transparent),
		// Clients that are asleep would be woken by the 15 s of Go's default;
		// the relay has an idle timeout of its own.
		KeepAliveConfig: net.KeepAliveConfig{Enable: false},
		KeepAlive:       -1,
	}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, network("tcp", addr.Addr()), addr.String())
	if err != nil {
		return nil, fmt.Errorf("opening transparent listener tcp %s: %w", addr, err)
	}
	return l.(*net.TCPListener), nil
}

// Endpoints gives the client of an accepted connection and the address that it
// dialled, both unmapped.
func Endpoints(c *net.TCPConn) (client, dialled netip.AddrPort) {
	return unmapped(c.RemoteAddr().(*net.TCPAddr).AddrPort()), unmapped(c.LocalAddr().(*net.TCPAddr).AddrPort())
}

func network(proto string, addr netip.Addr) string {
	if addr.Is4() {
		return proto + "4"
	}
	return proto + "6"
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// control wraps socket options of one address family for net.ListenConfig.
func control(addr netip.Addr, set func(fd int, v6 bool) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var inner error
		if err := c.Control(func(fd uintptr) { inner = set(int(fd), addr.Is6()) }); err != nil {
			return err
		}
		return inner
	}
}

// transparent lets a socket accept for, and bind to, addresses that are not
// this machine's (ip(7), IP_TRANSPARENT).
func transparent(fd int, v6 bool) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("setting SO_REUSEADDR: %w", err)
	}
	level, name := unix.SOL_IP, unix.IP_TRANSPARENT
	if v6 {
		level, name = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if err := unix.SetsockoptInt(fd, level, name, 1); err != nil {
		return fmt.Errorf("setting IP_TRANSPARENT (it needs CAP_NET_ADMIN): %w", err)
	}
	return nil
}
