package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrAssociationEnded is what reading and writing return once the node has
// ended a UDP association; the mapping has to be made anew.
var ErrAssociationEnded = errors.New("the node ended the UDP association")

// A datagram holds the largest one of UDP, header included.
type datagram [64 << 10]byte

// An association is a node's UDP mapping (RFC 1928 section 7). It lives as long
// as the TCP connection that it was asked for on.
type association struct {
	net.Conn  // UDP, connected to the relay: the kernel drops what others send
	raw       syscall.RawConn
	control   net.Conn
	datagrams *sync.Pool // of *datagram
	closed    atomic.Bool
	ended     atomic.Bool  // by the node
	heard     atomic.Int64 // when the relay last sent anything, in nanoseconds since began
	began     time.Time
	doubted   atomic.Bool   // the node is being asked whether it lives
	watched   chan struct{} // closed when watch has returned

	burst burst

	mu  sync.Mutex // guards the field below
	out []byte     // the datagram being sent
}

// associate asks the node for a mapping and opens a socket to its relay.
func (s *SOCKS5) associate(ctx context.Context) (*association, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()

	// We do not know yet where we shall send from: all zeros (section 4).
	anywhere := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	control, bound, err := s.request(ctx, commandAssociate, "", anywhere)
	if err != nil {
		return nil, err
	}
	a, err := s.openRelay(ctx, control, bound)
	if err != nil {
		control.Close()
		return nil, fmt.Errorf("opening a socket to the node's UDP relay: %w", err)
	}
	// Nothing is sent on a control connection that would tell that the node has
	// gone without a word, so this does, after 30 s.
	control.(*net.TCPConn).SetKeepAliveConfig(lazyProbes())
	go a.watch()
	return a, nil
}

// openRelay connects to the relay that the node bound for control.
func (s *SOCKS5) openRelay(ctx context.Context, control net.Conn, bound endpoint) (*association, error) {
	if bound.host != "" {
		return nil, fmt.Errorf("the node gives it by name (%q)", bound.host)
	}
	relay := bound.addr
	if relay.Addr().IsUnspecified() {
		node := control.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		relay = netip.AddrPortFrom(node.Unmap(), relay.Port())
	}
	c, err := s.sockets.dialUDP(ctx, relay)
	if err != nil {
		return nil, err
	}
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		c.Close()
		return nil, err
	}
	return &association{Conn: c, raw: raw, control: control, datagrams: &s.datagrams, watched: make(chan struct{}), began: time.Now()}, nil
}

// watch ends the association with its control connection, on which nothing is
// ever sent.
func (a *association) watch() {
	defer close(a.watched)
	var b [1]byte
	a.control.Read(b[:])
	a.ended.Store(!a.closed.Load())
	a.control.Close()
	a.Conn.Close()
}

// Close gives the mapping back to the node.
func (a *association) Close() error {
	a.closed.Store(true)
	err := a.Conn.Close()
	a.control.Close()
	<-a.watched
	return err
}

// lazyProbes notice within 30 s that a node has gone without a word.
func lazyProbes() net.KeepAliveConfig {
	return net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}
}

// unanswered is how long a client may send without an answer before the node is
// asked whether it lives. Many a flow goes one way only, so silence proves
// nothing. With the probes that follow, a node that vanished is known to be
// dead within five seconds.
const unanswered = 1500 * time.Millisecond

// doubt has the kernel probe the control connection each second: two probes
// that go unanswered end the association.
func (a *association) doubt() {
	if time.Since(a.began)-time.Duration(a.heard.Load()) < unanswered || !a.doubted.CompareAndSwap(false, true) {
		return
	}
	if c, ok := a.control.(*net.TCPConn); ok {
		c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2})
	}
}

// trust notes that the relay sent something.
func (a *association) trust() {
	a.heard.Store(int64(time.Since(a.began)))
	if a.doubted.Load() && a.doubted.CompareAndSwap(true, false) {
		if c, ok := a.control.(*net.TCPConn); ok {
			c.SetKeepAliveConfig(lazyProbes())
		}
	}
}

// send wraps a payload and hands it to the relay.
func (a *association) send(header, payload []byte) (int, error) {
	a.doubt()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out = append(append(a.out[:0], header...), payload...)
	if _, err := a.Conn.Write(a.out); err != nil {
		return 0, a.explain(err)
	}
	return len(payload), nil
}

// sendAll is send for several payloads at once.
func (a *association) sendAll(header []byte, payloads [][]byte) error {
	a.doubt()
	if err := a.burst.write(a.Conn.(*net.UDPConn), header, payloads, netip.AddrPort{}); err != nil {
		return a.explain(err)
	}
	return nil
}

// receive waits for a well-formed datagram of the relay and copies its payload
// to b; what does not fit is lost, as with any UDP socket.
//
// The header goes before the payload, so b may be too small for both. A buffer
// that is large enough is held only once there is something to put into it.
func (a *association) receive(b []byte) (n int, from endpoint, err error) {
	var failed error
	arrived := func(fd uintptr) bool {
		d := a.datagrams.Get().(*datagram)
		defer a.datagrams.Put(d)
		size := 0
		for size, failed = unix.Read(int(fd), d[:]); failed == unix.EINTR; {
			size, failed = unix.Read(int(fd), d[:])
		}
		if failed != nil {
			return failed != unix.EAGAIN
		}
		var payload []byte
		from, payload, err = parseDatagram(d[:size])
		n = copy(b, payload)
		return true
	}
	for {
		if closed := a.raw.Read(arrived); closed != nil {
			return 0, endpoint{}, a.explain(closed)
		}
		if failed != nil {
			return 0, endpoint{}, fmt.Errorf("receiving from the node's UDP relay: %w", failed)
		}
		if err == nil {
			a.trust()
			return n, from, nil
		}
	}
}

// explain says of a socket that watch has closed why it was.
func (a *association) explain(err error) error {
	if a.ended.Load() {
		return ErrAssociationEnded
	}
	return err
}

// A peerConn is a mapping with one peer.
type peerConn struct {
	*association
	header []byte
}

// Read receives the payload of the next datagram.
func (c *peerConn) Read(b []byte) (int, error) {
	n, _, err := c.receive(b)
	return n, err
}

// Write sends b as one datagram.
func (c *peerConn) Write(b []byte) (int, error) {
	return c.send(c.header, b)
}

// WriteAll sends each payload as one datagram.
func (c *peerConn) WriteAll(payloads [][]byte) error {
	return c.sendAll(c.header, payloads)
}

// A sharedConn is a mapping with any number of peers.
type sharedConn struct{ association *association }

// ReadFromUDPAddrPort receives a datagram and who sent it. One whose sender the
// node gives by name is dropped: it is nobody's that was written to.
func (c *sharedConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := c.association.receive(b)
		if err != nil || from.host == "" {
			return n, from.addr, err
		}
	}
}

// WriteToUDPAddrPort sends b as one datagram to a peer.
func (c *sharedConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	var room [3 + 1 + 16 + 2]byte
	header, err := appendDatagramHeader(room[:0], "", to)
	if err != nil {
		return 0, err
	}
	return c.association.send(header, b)
}

// WriteAllTo sends each payload as one datagram to a peer.
func (c *sharedConn) WriteAllTo(payloads [][]byte, to netip.AddrPort) error {
	var room [3 + 1 + 16 + 2]byte
	header, err := appendDatagramHeader(room[:0], "", to)
	if err != nil {
		return err
	}
	return c.association.sendAll(header, payloads)
}

// SetReadDeadline is as for a UDP socket.
func (c *sharedConn) SetReadDeadline(t time.Time) error {
	return c.association.SetReadDeadline(t)
}

// Close gives the mapping back to the node.
func (c *sharedConn) Close() error { return c.association.Close() }
