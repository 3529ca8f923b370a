package lab

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
	"github.com/fairlead/fairlead/nft/nstest"
)

// Client is a device in the LAN, in a namespace of its own.
type Client struct {
	Name  string
	NS    *nstest.NS
	Dev   string
	MAC   net.HardwareAddr
	Addr4 netip.Addr
	Addr6 netip.Addr

	router Pair
}

// patience is how long a client waits where its context sets no earlier end.
const patience = 5 * time.Second

// Answer is what a client got for its question.
type Answer struct {
	RCode     int
	Truncated bool
	Addrs     []netip.Addr // of the A and AAAA records
	Records   []Record     // of the answer section
	Raw       []byte
}

// Lookup asks a server's port 53 over udp or tcp. An answer from another
// address than the one asked is an error, as it is to most resolvers; so is
// one with another id or question.
func (c *Client) Lookup(ctx context.Context, server netip.Addr, name string, qtype uint16, network string) (Answer, error) {
	a, err := c.lookup(ctx, netip.AddrPortFrom(server, 53), message{flags: flagRecursion, name: name, qtype: qtype}, network)
	if err != nil {
		return Answer{}, fmt.Errorf("%s asking %s over %s for %s %s: %w", c.Name, server, network, name, leaks.TypeName(qtype), err)
	}
	return a, nil
}

func (c *Client) lookup(ctx context.Context, server netip.AddrPort, question message, network string) (Answer, error) {
	var id [2]byte
	rand.Read(id[:])
	question.id = binary.BigEndian.Uint16(id[:])
	raw, err := c.Exchange(ctx, server, question.pack(), network)
	if err != nil {
		return Answer{}, err
	}
	reply, err := parse(raw)
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer %x: %w", raw, err)
	}
	if !reply.response() || reply.id != question.id || reply.name != strings.ToLower(question.name) || reply.qtype != question.qtype {
		return Answer{}, fmt.Errorf("got %x, which does not answer the question", raw)
	}
	a := Answer{RCode: reply.rcode(), Truncated: reply.flags&flagTruncated != 0, Records: reply.answers, Raw: raw}
	for _, r := range reply.answers {
		if addr, ok := r.addr(); ok {
			a.Addrs = append(a.Addrs, addr)
		}
	}
	return a, nil
}

// Exchange sends any bytes as one DNS message over udp or tcp and gives the
// first message that comes back, which must come from the server.
func (c *Client) Exchange(ctx context.Context, server netip.AddrPort, query []byte, network string) ([]byte, error) {
	if network == "tcp" {
		conn, err := c.dial(ctx, "tcp", server)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if _, err := conn.Write(framed(query)); err != nil {
			return nil, err
		}
		return readFramed(conn)
	}
	conn, err := c.ListenUDP(server.Addr().Is4())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer bound(ctx, conn)()
	if err := tellRefusal(conn); err != nil {
		return nil, err
	}
	if _, err := conn.WriteToUDPAddrPort(query, server); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return nil, err
	}
	if from = unmap(from); from != server {
		return nil, fmt.Errorf("the answer came from %s, not from %s", from, server)
	}
	return buf[:n], nil
}

// tellRefusal makes a socket that talks to anyone report ICMP errors, as one
// that talks to a single address does (ip(7), IP_RECVERR).
func tellRefusal(c *net.UDPConn) error {
	if addrPort(c.LocalAddr()).Addr().Is4() {
		return setOption(c, unix.IPPROTO_IP, unix.IP_RECVERR)
	}
	return setOption(c, unix.IPPROTO_IPV6, unix.IPV6_RECVERR)
}

// setOption sets a socket option to 1.
func setOption(c *net.UDPConn, level, option int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	return failed
}

// GetHTTP asks the router for the address of a URL's host and gets the URL from
// there. The scheme is http or https; the host may be an address.
func (c *Client) GetHTTP(ctx context.Context, rawURL string) (Seen, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return Seen{}, err
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		return c.GetHTTPAt(ctx, addr, rawURL)
	}
	answer, err := c.Lookup(ctx, c.router.V4, u.Hostname(), TypeA, "udp")
	if err != nil {
		return Seen{}, err
	}
	if len(answer.Addrs) == 0 {
		return Seen{}, fmt.Errorf("%s getting %s: the name has no address (rcode %d)", c.Name, rawURL, answer.RCode)
	}
	return c.GetHTTPAt(ctx, answer.Addrs[0], rawURL)
}

// GetHTTPAt gets a URL from an address, whatever its host is.
func (c *Client) GetHTTPAt(ctx context.Context, at netip.Addr, rawURL string) (Seen, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return Seen{}, err
	}
	seen, err := c.get(ctx, at, u)
	if err != nil {
		return Seen{}, fmt.Errorf("%s getting %s from %s: %w", c.Name, rawURL, at, err)
	}
	return seen, nil
}

func (c *Client) get(ctx context.Context, at netip.Addr, u *url.URL) (Seen, error) {
	port := uint16(80)
	if u.Scheme == "https" {
		port = 443
	}
	conn, err := c.dial(ctx, "tcp", netip.AddrPortFrom(at, port))
	if err != nil {
		return Seen{}, err
	}
	defer conn.Close()
	if u.Scheme != "https" {
		return request(conn, u.Host)
	}
	secure := tls.Client(conn, &tls.Config{
		ServerName:         u.Hostname(),
		InsecureSkipVerify: true, // the certificate is for no name; that it is the world's is checked
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return Seen{}, fmt.Errorf("shaking hands: %w", err)
	}
	if got := secure.ConnectionState().PeerCertificates[0].DNSNames; len(got) != 1 || got[0] != certificateName {
		return Seen{}, fmt.Errorf("shaking hands: the certificate is for %q", got)
	}
	return request(secure, u.Host)
}

// DialTCP connects to an address; reads and writes have no deadline.
func (c *Client) DialTCP(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	conn, err := c.NS.Dial(ctx, "tcp", netip.AddrPort{}, to)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// DialUDP opens a socket that talks to one address only.
func (c *Client) DialUDP(ctx context.Context, to netip.AddrPort) (*net.UDPConn, error) {
	conn, err := c.NS.Dial(ctx, "udp", netip.AddrPort{}, to)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// ListenUDP opens a socket of one family that talks to anyone.
func (c *Client) ListenUDP(ipv4 bool) (*net.UDPConn, error) {
	any := netip.IPv6Unspecified()
	if ipv4 {
		any = netip.IPv4Unspecified()
	}
	return c.NS.ListenUDP(netip.AddrPortFrom(any, 0))
}

// dial connects for one exchange, which ends with the context or after patience.
func (c *Client) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	dialing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := c.NS.Dial(dialing, network, netip.AddrPort{}, to)
	if err != nil {
		return nil, err
	}
	return bounded{conn, bound(ctx, conn)}, nil
}

// bounded is a connection whose use ends with a context.
type bounded struct {
	net.Conn
	release func()
}

// Close ends the connection, and the watch for its context.
func (b bounded) Close() error {
	b.release()
	return b.Conn.Close()
}

// bound makes reads and writes of conn end with the context or after patience.
func bound(ctx context.Context, conn net.Conn) (release func()) {
	conn.SetDeadline(time.Now().Add(patience))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}
