package outbound

import (
	"context"
	"net"
	"net/netip"
)

// Direct reaches peers from this machine itself.
type Direct struct {
	sockets  sockets
	resolver Resolver
	idle     *idle
}

// NewDirect returns the way out by the machine's own routes. Its sockets carry
// mark (SO_MARK, which needs CAP_NET_ADMIN; 0 sets none), and names are resolved
// by r.
func NewDirect(mark uint32, r Resolver) *Direct {
	return &Direct{sockets: sockets{mark: mark}, resolver: r, idle: newIdle()}
}

// Interface reaches peers through one network device.
type Interface struct{ Direct }

// NewInterface returns the way out by device, which need not exist yet. The rest
// is as for NewDirect.
func NewInterface(device string, mark uint32, r Resolver) *Interface {
	return &Interface{Direct{sockets: sockets{mark: mark, device: device}, resolver: r, idle: newIdle()}}
}

// DialTCP connects to an address, or to the first address of a host to answer.
func (d *Direct) DialTCP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addrs, err := d.addresses(ctx, host, to.Addr())
	if err != nil {
		return nil, err
	}
	return race(ctx, d.sockets, addrs, to.Port())
}

// DialUDP connects a UDP socket to an address, or to the first address of a host
// that there is a route to.
func (d *Direct) DialUDP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	addrs, err := d.addresses(ctx, host, to.Addr())
	if err != nil {
		return nil, err
	}
	var first error
	for _, a := range addrs {
		c, err := d.sockets.dialUDP(ctx, netip.AddrPortFrom(a.Unmap(), to.Port()))
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// ListenUDP opens a UDP socket on a random port.
func (d *Direct) ListenUDP(ctx context.Context, v6 bool) (PacketConn, error) {
	c, err := d.sockets.listenUDP(ctx, v6)
	if err != nil {
		return nil, err
	}
	return &sharedSocket{UDPConn: c}, nil
}

// addresses is where host may be reached, or addr where there is no host.
func (d *Direct) addresses(ctx context.Context, host string, addr netip.Addr) ([]netip.Addr, error) {
	if host == "" {
		return []netip.Addr{addr}, nil
	}
	return lookup(ctx, d.resolver, host)
}
