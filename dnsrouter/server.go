package dnsrouter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// Bounds of DNS over TCP, where a client could hold what others need.
const (
	maxTCP     = 64
	maxTCPEach = 8
	tcpIdle    = 10 * time.Second
	// tcpMessage is how long a message may take from its first byte to its last.
	tcpMessage = 5 * time.Second
	// maxTCPWaiting is how many questions of one connection may wait for others.
	// With more of them it is not read any further.
	maxTCPWaiting = 16
)

// Packets are the questions over UDP that come to us: who asked, and which
// server was meant. The payload is valid until the next Read.
type Packets interface {
	Read() (payload []byte, client, server netip.AddrPort, err error)
	Close() error
}

// Streams are the connections by which questions come over TCP: a
// net.TCPListener.
type Streams interface {
	Accept() (net.Conn, error)
	Close() error
}

// Sender sends a reply from the server that the client asked.
type Sender interface {
	Send(payload []byte, from, to netip.AddrPort) error
}

// Strangers tells askers, beside the router itself, whose packets are not
// diverted: they are answered as by a router without us. It is nil where every
// question was diverted, because then the kernel knows better who is served.
type Strangers func(netip.Addr) bool

// ServeUDP answers questions over UDP until ctx ends. Answers that need nobody
// are given in the reader itself; the others do not hold it up. It waits for those
// under way, which end with ctx.
func (r *Router) ServeUDP(ctx context.Context, in Packets, out Sender, strangers Strangers) error {
	var later sync.WaitGroup
	defer later.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { in.Close() })
	defer stop()
	waiting := newPlaces(maxWaiting, maxWaitingEach)
	turns := newTurns(r.share)
	hot := r.newQuestion(&later, strangers)
	for {
		msg, client, server, err := in.Read()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("receiving questions: %w", err)
		}
		r.count.queries.Add(1)
		if !turns.take(client.Addr(), time.Now()) {
			r.count.refused.Add(1)
			continue
		}
		reply, err := r.answer(ctx, hot, msg, client.Addr(), 0)
		if !errors.Is(err, errLater) {
			r.reply(out, reply, server, client)
			continue
		}
		if device := r.share(client.Addr()); waiting.enter(device) {
			q := hot
			q.hold()
			later.Go(func() {
				defer waiting.leave(device)
				r.answerLater(ctx, q, out, server, client)
			})
			hot = r.newQuestion(&later, strangers)
		}
	}
}

// answerLater answers what the reader could not, in a goroutine of its own.
func (r *Router) answerLater(ctx context.Context, q *question, out Sender, server, client netip.AddrPort) {
	defer r.done(q)
	if reply, err := r.goOn(ctx, q, client.Addr(), 0); err == nil {
		r.reply(out, reply, server, client)
	}
}

func (r *Router) reply(out Sender, reply []byte, server, client netip.AddrPort) {
	if reply == nil {
		return
	}
	if err := out.Send(reply, server, client); err != nil {
		r.log.Debug("answering a question", "err", err)
	}
}

// ServeTCP answers questions over TCP (RFC 7766) until ctx ends.
func (r *Router) ServeTCP(ctx context.Context, l Streams, strangers Strangers) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	var seated seats
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting questions over TCP: %w", err)
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // out of descriptors: wait for one
			}
			continue
		}
		client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		mine := seated.enter(c, r.share(client))
		if mine == nil {
			c.Close()
			continue
		}
		conns.Go(func() {
			defer seated.leave(mine)
			r.converse(ctx, mine, client, func() *question { return r.newQuestion(&conns, strangers) },
				func(busy bool) { seated.serve(mine, busy) })
		})
	}
}

// converse answers the questions of one connection: at once where nobody else is
// needed, and the others as soon as their answers are there (RFC 7766 section
// 6.2.1.1), so that one for a dead upstream does not hold up those behind it. It
// tells serving when the client begins to wait for an answer, and when it has it.
func (r *Router) converse(ctx context.Context, c net.Conn, client netip.Addr, next func() *question, serving func(busy bool)) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var later sync.WaitGroup
	defer later.Wait()
	waiting := make(chan struct{}, maxTCPWaiting)
	hot := next()
	defer func() { r.done(hot) }()
	var buf []byte
	for {
		msg, err := readMessage(c, buf)
		if err != nil {
			return
		}
		buf = msg
		r.count.queries.Add(1)
		serving(true)
		reply, err := r.answer(ctx, hot, msg, client, wire.MaxMessage)
		if errors.Is(err, errLater) {
			waiting <- struct{}{}
			q := hot
			q.hold()
			later.Go(func() {
				defer func() { <-waiting }()
				defer serving(false)
				defer r.done(q)
				reply, err := r.goOn(ctx, q, client, wire.MaxMessage)
				if err != nil || reply == nil || writeMessage(c, reply) != nil {
					c.Close()
				}
			})
			hot = next()
			continue
		}
		serving(false)
		if err != nil || reply == nil || writeMessage(c, reply) != nil {
			return
		}
	}
}

// readMessage reads one message behind its length (RFC 1035 section 4.2.2).
func readMessage(c net.Conn, buf []byte) ([]byte, error) {
	var size [2]byte
	c.SetReadDeadline(time.Now().Add(tcpIdle))
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	c.SetReadDeadline(time.Now().Add(tcpMessage))
	n := int(binary.BigEndian.Uint16(size[:]))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(c, buf[:n])
	return buf[:n], err
}

// writeMessage writes one message in one piece, so that those of several
// goroutines stay whole.
func writeMessage(c net.Conn, msg []byte) error {
	framed := make([]byte, 2+len(msg))
	binary.BigEndian.PutUint16(framed, uint16(len(msg)))
	copy(framed[2:], msg)
	c.SetWriteDeadline(time.Now().Add(tcpMessage))
	_, err := c.Write(framed)
	return err
}
