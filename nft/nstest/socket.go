package nstest

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dial connects from the namespace. The network is tcp or udp, with or without
// 4 or 6; the zero local address and port are chosen by the kernel.
func (n *NS) Dial(ctx context.Context, network string, local, remote netip.AddrPort) (conn net.Conn, err error) {
	dialer := net.Dialer{LocalAddr: localAddr(network, local)}
	dialer.SetMultipathTCP(false)
	err = n.Do(func() error {
		conn, err = dialer.DialContext(ctx, network, remote.String())
		return err
	})
	return conn, err
}

// ListenTCP listens in the namespace. An unspecified IPv6 address does not
// include IPv4.
func (n *NS) ListenTCP(at netip.AddrPort) (l *net.TCPListener, err error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	err = n.Do(func() error {
		any, err := config.Listen(context.Background(), "tcp"+family(at), at.String())
		if err != nil {
			return err
		}
		l = any.(*net.TCPListener)
		return nil
	})
	return l, err
}

// ListenUDP opens a socket in the namespace. Others may share a port given
// (SO_REUSEADDR, as DNS servers set it); port 0 is one that nobody has. An
// unspecified IPv6 address does not include IPv4.
func (n *NS) ListenUDP(at netip.AddrPort) (c *net.UDPConn, err error) {
	var config net.ListenConfig
	if at.Port() != 0 { // else the kernel could choose one that is shared already
		config.Control = reuseAddr
	}
	err = n.Do(func() error {
		any, err := config.ListenPacket(context.Background(), "udp"+family(at), at.String())
		if err != nil {
			return err
		}
		c = any.(*net.UDPConn)
		return nil
	})
	return c, err
}

func reuseAddr(_, _ string, c syscall.RawConn) (err error) {
	outer := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	if outer != nil {
		return outer
	}
	return err
}

func family(at netip.AddrPort) string {
	if at.Addr().Is4() {
		return "4"
	}
	return "6"
}

func localAddr(network string, local netip.AddrPort) net.Addr {
	switch {
	case !local.IsValid():
		return nil
	case network[:3] == "tcp":
		return net.TCPAddrFromAddrPort(local)
	default:
		return net.UDPAddrFromAddrPort(local)
	}
}
