package upstream

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

const (
	// maxWrong answers to one question are ignored; more are an attack, which
	// TCP ends.
	maxWrong = 10

	// caseMisses are so many answers in changed letter case, each to the right
	// id and port, that it is the server's habit and not a forger's luck.
	caseMisses = 3
)

// What makes a question over UDP go to TCP.
var (
	errTruncated = errors.New("answer does not fit into a datagram")
	errForged    = errors.New("more than 10 wrong answers")
)

// errEDNS makes it be asked without EDNS, as an old one in a modem has to be.
var errEDNS = errors.New("server does not know EDNS")

// resendAfter is how long to wait before a datagram that was sent again n times
// is sent once more: networks lose some. It is the same datagram to the same
// socket, so that a late answer counts and a forger gains nothing.
func resendAfter(n int) time.Duration { return time.Second << n }

// plain asks over UDP, from a port of its own for each question, which is random
// and so as hard to guess as its id; and over TCP what UDP cannot answer.
type plain struct {
	target *target
	shared *kept // where sockets are dear, one for all; else nil
	tcp    *kept
	missed atomic.Int32 // answers in changed letter case
	bare   atomic.Bool  // the server does not know EDNS
	stream atomic.Bool  // the node carries TCP only
}

func newPlain(t *target) *plain {
	p := &plain{target: t, tcp: newKept(t, t.dialTCP)}
	p.tcp.bare = p.bare.Load
	if t.env.node != nil {
		p.shared = newKept(t, func(ctx context.Context) (net.Conn, error) {
			conn, err := t.dialUDP(ctx)
			if err != nil {
				return nil, err
			}
			return t.env.keep(conn), nil
		})
		p.shared.datagrams, p.shared.mix, p.shared.bare = true, p.mix, p.bare.Load
	}
	return p
}

// mix tells whether names are asked in random letter case ("0x20"), which most
// servers repeat and a forger has to guess: of all but those that change it.
func (p *plain) mix() bool { return p.missed.Load() < caseMisses }

// ask asks until a datagram or TCP answers. A server without TCP that changes the
// letter case is asked again until that is known to be its habit.
func (p *plain) ask(ctx context.Context, q Question) ([]byte, error) {
	until := time.Now().Add(totalTime)
	for {
		answer, err := p.overUDPAndTCP(ctx, q, until)
		if !errors.Is(err, wire.ErrCase) {
			return answer, err
		}
	}
}

// overUDPAndTCP asks once. The error is wire.ErrCase where TCP failed, too.
func (p *plain) overUDPAndTCP(ctx context.Context, q Question, until time.Time) ([]byte, error) {
	answer, err := p.overUDP(ctx, q, until)
	if errors.Is(err, errEDNS) {
		p.bare.Store(true)
		answer, err = p.overUDP(ctx, q, until)
		p.bare.Store(err == nil && useful(answer)) // else it is not EDNS that it does not like
	}
	changed := errors.Is(err, wire.ErrCase)
	if changed {
		p.missed.Add(1)
	}
	if changed || errors.Is(err, errTruncated) || errors.Is(err, errForged) {
		whole, failed := p.kept(ctx, p.tcp, q, until)
		if failed == nil || !changed {
			return whole, failed
		}
	}
	return answer, err
}

func (p *plain) kept(ctx context.Context, k *kept, q Question, until time.Time) ([]byte, error) {
	ctx, cancel := p.target.env.within(ctx, until)
	defer cancel()
	return k.ask(ctx, q)
}

// overNode asks over UDP, or over TCP by a node that does not carry UDP, as many do
// not (ssh, Tor).
func (p *plain) overNode(ctx context.Context, q Question, until time.Time) ([]byte, error) {
	if !p.stream.Load() {
		answer, err := p.kept(ctx, p.shared, q, until)
		if !errors.Is(err, errConnecting) {
			return answer, err
		}
	}
	answer, err := p.kept(ctx, p.tcp, q, until)
	p.stream.Store(err == nil)
	return answer, err
}

func (p *plain) overUDP(ctx context.Context, q Question, until time.Time) ([]byte, error) {
	if p.shared != nil {
		return p.overNode(ctx, q, until)
	}
	mix := p.mix()
	query, err := newQuery(q, randomID(), false, mix)
	if err != nil {
		return nil, err
	}
	if p.bare.Load() {
		query = wire.WithoutEDNS(query)
	}
	conn, err := p.target.lendUDP(ctx)
	if err != nil {
		return nil, err
	}
	env := p.target.env
	if !env.asking.enter(conn) {
		conn.Close()
		return nil, ErrClosed
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if open := env.asking.leave(conn); stop() && open {
			conn.GiveBack()
		}
	}()

	p.target.told(q, conn)
	s := socket{Conn: conn, query: query, mix: mix, env: env}
	n := 0
	for now := time.Now(); now.Before(until); now = time.Now() {
		if _, err := conn.Write(query); err != nil {
			return nil, orCause(ctx, err)
		}
		conn.SetReadDeadline(earlier(now.Add(resendAfter(n)), until))
		answer, err := s.answer()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return answer, orCause(ctx, err)
		}
		n++
	}
	return nil, context.DeadlineExceeded
}

// orCause prefers the context's reason to the error of the conn that it closed.
func orCause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// socket waits for the answer to one question.
type socket struct {
	net.Conn
	query []byte
	mix   bool
	env   *env
	wrong int
}

// answer reads until the right answer comes. The kernel passes on only what
// comes from the server's address and port.
func (s *socket) answer() ([]byte, error) {
	buf := s.env.datagram()
	defer s.env.datagrams.Put(buf)
	for {
		n, err := s.Read(buf[:])
		if err != nil {
			return nil, err
		}
		err = accept(buf[:n], s.query, s.mix)
		if settles(err) {
			return slices.Clone(buf[:n]), err
		}
		s.env.count.wrong.Add(1)
		if s.wrong++; s.wrong > maxWrong {
			return nil, errForged
		}
	}
}

// settles tells whether a message that was judged so ends the wait: it has the
// right id and question, whether it can be used or not.
func settles(err error) bool {
	return err == nil || errors.Is(err, errTruncated) || errors.Is(err, errEDNS) || errors.Is(err, errInPart) || errors.Is(err, wire.ErrCase)
}

// useful tells whether a server has answered, be it that there is no such name.
func useful(answer []byte) bool {
	rcode := wire.Rcode(answer)
	return rcode == wire.RcodeSuccess || rcode == wire.RcodeNXDomain
}

// accept judges a datagram: nil, errTruncated, errEDNS, or an error of wire.Validate. One
// over the size that we offered is as good as truncated, and gets the flag: it
// came in fragments, which can be forged.
func accept(msg, query []byte, exactCase bool) error {
	if len(msg) > wire.MaxUDP {
		wire.SetTruncated(msg)
	}
	if wire.RefusesEDNS(msg, query) {
		return errEDNS
	}
	err := wire.Validate(msg, query, exactCase)
	if err == nil && wire.IsTruncated(msg) {
		return errTruncated
	}
	return err
}
