//go:build quic && !tiny

package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// HasQUIC says whether this build can ask servers of schemes quic and h3.
const HasQUIC = true

// noError and requestCancelled are codes of RFC 9250 section 4.3.
const (
	noError          = 0x0
	requestCancelled = 0x3
)

// doubtful is silence for connections beside which no other is opened.
const doubtful = 1500 * time.Millisecond

// maxWindow is how much of answers that nobody has read yet a server may send.
const maxWindow = 4 * wire.MaxMessage

// newQUIC asks over QUIC (RFC 9250), or by HTTP/3 (RFC 8484).
func newQUIC(t *target) transport {
	switch t.cfg.Scheme {
	case "quic":
		config := t.tlsConfig()
		config.NextProtos = []string{"doq"}
		return &doq{target: t, tls: config}
	case "h3":
		return newH3(t)
	}
	return unknown(t.cfg.Scheme)
}

// doq asks over one connection of QUIC that is kept open, with a stream for each
// question.
type doq struct {
	target *target
	tls    *tls.Config

	mu   sync.Mutex // guards the field below
	call *call      // nil: none was made yet
}

// call is a connection, or the making of one, for all who wait for it.
type call struct {
	heard atomic.Int64  // answers received
	made  chan struct{} // closed when the fields below are set
	conn  *quic.Conn
	err   error
}

// ask asks over the open connection, and once more over a new one if that one
// turns out to be dead.
func (d *doq) ask(ctx context.Context, q Question) ([]byte, error) {
	query, err := newQuery(q, 0, true, false) // id 0: RFC 9250 section 4.2.1
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		c, used := d.current()
		select {
		case <-c.made:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if c.err != nil {
			return nil, c.err
		}
		d.target.told(q, c.conn)
		answer, err := c.ask(ctx, query, first && used)
		if !errors.Is(err, errGone) || !first || !used || ctx.Err() != nil {
			return answer, orCause(ctx, err)
		}
		c.conn.CloseWithError(noError, "")
	}
}

// current returns the connection, or begins one; used tells that it was open
// before.
func (d *doq) current() (c *call, used bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.call; c != nil {
		select {
		case <-c.made:
			if c.err == nil && c.conn.Context().Err() == nil {
				return c, true
			}
		default:
			return c, false
		}
	}
	c = &call{made: make(chan struct{})}
	d.call = c
	// It does not end with the question that needed it: others may wait for it.
	d.target.env.running.Go(func() {
		c.conn, c.err = d.target.dialQUIC(context.Background(), d.tls, d.target.quicConfig())
		close(c.made)
	})
	return c, false
}

// ask asks on a stream of its own. With doubt, a connection that says nothing
// for a while is given up with errGone.
func (c *call) ask(ctx context.Context, query []byte, doubt bool) ([]byte, error) {
	s, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, errGone
	}
	giveUp := func() {
		s.CancelRead(requestCancelled)
		s.CancelWrite(requestCancelled)
	}
	defer s.CancelRead(noError)
	defer context.AfterFunc(ctx, giveUp)()
	if doubt {
		heard := c.heard.Load()
		silent := time.AfterFunc(doubtful, func() {
			if c.heard.Load() == heard {
				giveUp()
			}
		})
		defer silent.Stop()
	}
	if _, err := s.Write(framed(query)); err != nil {
		return nil, errGone
	}
	s.Close() // the question ends there: RFC 9250 section 4.2
	msg, err := io.ReadAll(io.LimitReader(s, 2+wire.MaxMessage+1))
	if err != nil {
		return nil, errGone
	}
	c.heard.Add(1)
	return unframed(msg, query)
}

// unframed is the one answer on a stream, checked.
func unframed(stream, query []byte) ([]byte, error) {
	if len(stream) < 2 || int(stream[0])<<8|int(stream[1]) != len(stream)-2 {
		return nil, errors.New("a stream without one whole answer")
	}
	answer := stream[2:]
	if err := wire.Validate(answer, query, false); err != nil {
		return nil, err
	}
	if wire.IsTruncated(answer) {
		return nil, errInPart
	}
	return answer, nil
}

// quicConfig lets the server send answers, and nothing of its own accord but
// what HTTP/3 needs (RFC 9114 section 6.2: three streams).
func (t *target) quicConfig() *quic.Config {
	return &quic.Config{
		MaxIdleTimeout: t.env.idle, MaxIncomingStreams: -1, MaxIncomingUniStreams: 3,
		InitialStreamReceiveWindow: wire.MaxMessage + 2, MaxStreamReceiveWindow: wire.MaxMessage + 2,
		InitialConnectionReceiveWindow: maxWindow, MaxConnectionReceiveWindow: maxWindow,
	}
}

// dialQUIC connects to the first address that answers. The connection closes
// with the upstream. Nothing is sent before the server's certificate is known to
// hold.
func (t *target) dialQUIC(ctx context.Context, config *tls.Config, settings *quic.Config) (*quic.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	defer context.AfterFunc(t.env.ctx, cancel)()
	addrs, err := t.addrs(ctx)
	if err != nil {
		return nil, err
	}
	for i, addr := range addrs {
		var conn *quic.Conn
		if conn, err = t.greet(ctx, addr, i == len(addrs)-1, config, settings); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (t *target) greet(ctx context.Context, addr netip.AddrPort, last bool, config *tls.Config, settings *quic.Config) (*quic.Conn, error) {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, addrPatience)
		defer cancel()
	}
	raw, err := t.env.dial.DialUDP(ctx, "", addr)
	if err != nil {
		return nil, err
	}
	p := &peer{Conn: raw, addr: net.UDPAddrFromAddrPort(addr), heard: &t.env.heard}
	kept := t.env.keep(p)
	carrier := &quic.Transport{Conn: p}
	end := func() { carrier.Close(); kept.Close() }
	conn, err := carrier.Dial(ctx, p.addr, config, settings)
	if err != nil {
		end()
		return nil, err
	}
	p.greeted.Store(conn)
	context.AfterFunc(conn.Context(), end)
	return conn, nil
}

// peer is a conn to one peer as QUIC wants it.
type peer struct {
	net.Conn
	addr    net.Addr
	heard   *atomic.Uint32            // env.heard
	greeted atomic.Pointer[quic.Conn] // nil: not yet
}

// ReadFrom receives a datagram, which can only be the peer's.
func (p *peer) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	if n > 0 {
		p.heard.Add(1)
	}
	return n, p.addr, err
}

// WriteTo sends a datagram to the peer, whatever address is given.
func (p *peer) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

// Close takes leave of the peer, which would wait for us for a while else.
func (p *peer) Close() error {
	if conn := p.greeted.Load(); conn != nil {
		conn.CloseWithError(noError, "")
	}
	return p.Conn.Close()
}

// SetReadBuffer does nothing: DNS needs no large buffers, and without the method
// quic-go complains on standard error.
func (*peer) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing, as SetReadBuffer.
func (*peer) SetWriteBuffer(int) error { return nil }
