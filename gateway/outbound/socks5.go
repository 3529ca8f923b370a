package outbound

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// nodeTimeout bounds a whole dial through a node, its name, connection and
// negotiation together, so that a client hears of a dead node within 5 s.
const nodeTimeout = 4500 * time.Millisecond

// SOCKS5 reaches peers through a node (RFC 1928), to which names are sent as
// they are.
type SOCKS5 struct {
	node      Config
	addr      netip.Addr // of the node, unless it is given by name
	sockets   sockets
	bootstrap Resolver
	heard     atomic.Uint32
	datagrams sync.Pool // of *datagram, for its associations
}

// NewSOCKS5 returns the way out through the node of cfg. Sockets to the node
// carry mark as in NewDirect; bootstrap resolves the node's own name and nothing
// else, and may be nil if the node is given by address.
func NewSOCKS5(cfg Config, mark uint32, bootstrap Resolver) *SOCKS5 {
	s := &SOCKS5{node: cfg, sockets: sockets{mark: mark}, bootstrap: bootstrap}
	s.datagrams.New = func() any { return new(datagram) }
	if a, err := netip.ParseAddr(cfg.Server); err == nil {
		s.addr = a.Unmap()
	}
	return s
}

// Heard changes whenever the node has answered a greeting: its first sign of life,
// since the kernel of a dead one may still accept connections.
func (s *SOCKS5) Heard() uint32 { return s.heard.Load() }

// DialTCP has the node connect to a peer (CONNECT). A node that is alive and
// refuses is a ReplyError.
func (s *SOCKS5) DialTCP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	c, _, err := s.request(ctx, commandConnect, host, to)
	return c, err
}

// DialUDP has the node make a mapping for one peer (UDP ASSOCIATE). Every
// datagram that the mapping receives is taken for the peer's: the node, not we,
// knows the address of a host. Read returns an error once the node has ended
// the association.
func (s *SOCKS5) DialUDP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	header, err := appendDatagramHeader(nil, host, to)
	if err != nil {
		return nil, fmt.Errorf("naming the peer to the node: %w", err)
	}
	a, err := s.associate(ctx)
	if err != nil {
		return nil, err
	}
	return &peerConn{association: a, header: header}, nil
}

// ListenUDP has the node make a mapping for any number of peers of either
// family (UDP ASSOCIATE).
func (s *SOCKS5) ListenUDP(ctx context.Context, _ bool) (PacketConn, error) {
	a, err := s.associate(ctx)
	if err != nil {
		return nil, err
	}
	return &sharedConn{association: a}, nil
}

// request connects to the node, authenticates, and sends one command. The
// connection it returns stands right behind the reply.
func (s *SOCKS5) request(ctx context.Context, command byte, host string, to netip.AddrPort) (net.Conn, endpoint, error) {
	request, err := appendEndpoint([]byte{socksVersion, command, 0}, host, to)
	if err != nil {
		return nil, endpoint{}, fmt.Errorf("naming the peer to the node: %w", err)
	}
	c, err := s.connect(ctx)
	if err != nil {
		return nil, endpoint{}, fmt.Errorf("reaching the node: %w", err)
	}
	bound, err := s.negotiate(ctx, c, request)
	if err != nil {
		c.Close()
		return nil, endpoint{}, err
	}
	return c, bound, nil
}

// connect opens a TCP connection to the node.
func (s *SOCKS5) connect(ctx context.Context) (net.Conn, error) {
	if s.addr.IsValid() {
		return s.sockets.dialTCP(ctx, netip.AddrPortFrom(s.addr, s.node.Port))
	}
	addrs, err := lookup(ctx, s.bootstrap, s.node.Server)
	if err != nil {
		return nil, err
	}
	return race(ctx, s.sockets, addrs, s.node.Port)
}

// negotiate speaks up to and including the reply to request, bounded by ctx.
func (s *SOCKS5) negotiate(ctx context.Context, c net.Conn, request []byte) (endpoint, error) {
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	bound, err := s.exchange(c, request)
	if !stop() && err == nil {
		err = context.Cause(ctx) // the deadline may be set after we lift it
	}
	if err != nil {
		return endpoint{}, err
	}
	return bound, c.SetDeadline(time.Time{})
}

// exchange waits for the node's choice of method before it sends the request.
// One write for both would save a round trip where the node wants no password,
// but some servers, microsocks among them, take whatever one receive returns for
// the greeting, drop the rest, and wait for ever.
func (s *SOCKS5) exchange(c net.Conn, request []byte) (endpoint, error) {
	if err := s.authenticate(c); err != nil {
		return endpoint{}, fmt.Errorf("authenticating to the node: %w", err)
	}
	if _, err := c.Write(request); err != nil {
		return endpoint{}, fmt.Errorf("sending the request to the node: %w", err)
	}
	bound, err := readReply(c)
	if err != nil {
		return endpoint{}, fmt.Errorf("reading the node's reply: %w", err)
	}
	return bound, nil
}

// authenticate has the node choose a method (RFC 1928 section 3), and sends the
// user name and password if it wants them (RFC 1929 section 2).
func (s *SOCKS5) authenticate(c net.Conn) error {
	greeting := []byte{socksVersion, 1, methodNone}
	if s.node.Username != "" {
		greeting = []byte{socksVersion, 2, methodNone, methodPassword}
	}
	if _, err := c.Write(greeting); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := readFull(c, answer[:]); err != nil {
		return err
	}
	s.heard.Add(1)
	switch {
	case answer[0] != socksVersion:
		return errNotSOCKS5
	case answer[1] == methodNone:
		return nil
	case answer[1] == methodPassword && s.node.Username != "":
		return s.sendPassword(c)
	}
	return errNoMethod
}

func (s *SOCKS5) sendPassword(c net.Conn) error {
	user, password := s.node.Username, s.node.Password
	if len(user) > maxField || len(password) > maxField {
		return fmt.Errorf("user name and password must have at most %d bytes", maxField)
	}
	b := append([]byte{authVersion, byte(len(user))}, user...)
	b = append(append(b, byte(len(password))), password...)
	if _, err := c.Write(b); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := readFull(c, answer[:]); err != nil {
		return err
	}
	if answer[1] != 0 {
		return errBadPassword
	}
	return nil
}
