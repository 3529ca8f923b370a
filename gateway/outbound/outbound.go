// Package outbound dials what a flow wants to reach by the way that was decided
// for it: directly, through an interface, or through a proxy node.
package outbound

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// An Outbound is one way out. A host that is not empty is what is dialled, at
// the port of to; the address in to may then be zero or fake and is not used.
// Host names are lower case without a trailing dot.
type Outbound interface {
	// DialTCP connects to one peer. What it returns may be given to package
	// relay, which splices it if it is a *net.TCPConn. The last segment of the
	// handshake waits for the first bytes that are written: who wants the peer to
	// speak first sets TCP_QUICKACK, which sends it.
	DialTCP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error)

	// DialUDP makes a mapping of its own for one peer. Each Write sends and
	// each Read receives the payload of one datagram.
	DialUDP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error)

	// ListenUDP makes one mapping for any number of peers given by address, of
	// IPv6 if v6 is set and else of IPv4.
	ListenUDP(ctx context.Context, v6 bool) (PacketConn, error)
}

// A PacketConn is a UDP mapping shared by many peers. It is an alias, so that
// others can declare the same without importing this package.
type PacketConn = interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	SetReadDeadline(t time.Time) error
	Close() error
}

// A Resolver gives the IPv4 and IPv6 addresses of a host, at least one or an
// error.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]netip.Addr, error)
}

var (
	_ Outbound = (*Direct)(nil)
	_ Outbound = (*Interface)(nil)
	_ Outbound = (*SOCKS5)(nil)
)
