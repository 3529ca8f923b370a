package outbound

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sockets makes the daemon's own sockets, which the ruleset knows by their mark
// and does not divert again.
type sockets struct {
	mark   uint32 // SO_MARK; 0 sets none
	device string // SO_BINDTODEVICE; empty binds to none
}

// control sets what has to be set before the first packet leaves. That TCP is not
// to acknowledge quickly has the last segment of the handshake wait for the first
// bytes, to leave with them (tcp(7), TCP_QUICKACK): one packet less for each
// connection. The kernel sends it by itself after a fifth of a second.
func (s sockets) control(network, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		if strings.HasPrefix(network, "tcp") {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
		}
		if s.mark != 0 {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(s.mark)); err != nil {
				failed = fmt.Errorf("marking the socket: %w", err)
				return
			}
		}
		if s.device != "" {
			if err := unix.BindToDevice(int(fd), s.device); err != nil {
				failed = fmt.Errorf("binding the socket to %s: %w", s.device, err)
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// dialer has MPTCP off, because such sockets cannot be spliced, and keep-alives
// that hold a NAT's mapping but wake nobody each 15 s, as Go's default does.
func (s sockets) dialer() *net.Dialer {
	d := &net.Dialer{Control: s.control, KeepAliveConfig: keepAlive()}
	d.SetMultipathTCP(false)
	return d
}

// keepAlive is what suits a connection that nobody doubts.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{
		Enable:   true,
		Idle:     75 * time.Second,
		Interval: 120 * time.Second,
		Count:    -1, // the system's
	}
}

// dialTCP connects to one address.
//
// It is DialContext on purpose: Dialer.DialTCP takes a zero local address for
// one to bind to, and a bound socket takes a port away from all destinations.
func (s sockets) dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return s.dialer().DialContext(ctx, "tcp", to.String())
}

// dialUDP connects a UDP socket to one address.
func (s sockets) dialUDP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return s.dialer().DialContext(ctx, "udp", to.String())
}

// listenUDP opens a UDP socket for peers of one family.
func (s sockets) listenUDP(ctx context.Context, v6 bool) (*net.UDPConn, error) {
	network := "udp4"
	if v6 {
		network = "udp6"
	}
	c, err := (&net.ListenConfig{Control: s.control}).ListenPacket(ctx, network, ":0")
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// dialTimeout bounds a connection attempt where nobody else does.
const dialTimeout = 15 * time.Second
