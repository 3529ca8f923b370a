package upstream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// warnEvery bounds warnings about one server's certificate.
const warnEvery = time.Minute

// addrPatience is how long one address of several may take to connect.
const addrPatience = 1500 * time.Millisecond

// env is what the servers of one upstream share.
type env struct {
	name      string
	bootstrap bool     // its servers resolve names of servers
	record    Recorder // may be nil

	ctx     context.Context // ends with the upstream
	dial    Dialer
	node    Node       // that is dial; nil: it is none
	boot    *bootstrap // nil: there is none
	idle    time.Duration
	log     *slog.Logger
	tls     *tls.Config
	count   counters
	heard   atomic.Uint32 // changes when something comes by a kept connection
	conns   conns
	asking  borrowed
	running sync.WaitGroup // all goroutines of the upstream

	datagrams sync.Pool // of *datagram
}

// counters tell the tests what answers do not show: questions to servers, those
// that waited for an equal one, and messages that were no answer.
type counters struct{ asked, merged, wrong atomic.Int64 }

// datagram is where an answer over UDP is read to: an octet more than was
// offered tells that it is longer.
type datagram [wire.MaxUDP + 1]byte

func (e *env) datagram() *datagram {
	if d, ok := e.datagrams.Get().(*datagram); ok {
		return d
	}
	return new(datagram)
}

// within makes a context that also ends at a time, and with the upstream.
func (e *env) within(ctx context.Context, until time.Time) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(ctx, until)
	stop := context.AfterFunc(e.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// transport is one way of asking a server.
type transport interface {
	ask(ctx context.Context, q Question) ([]byte, error)
}

// server is one server with its connections and its record.
type server struct {
	name    string
	env     *env
	way     transport
	bounded bool // way ends a question by itself: in time, and with the upstream
	health  health

	mu     sync.Mutex // guards the fields below
	warned time.Time
}

func newServer(e *env, cfg Server) *server {
	s := &server{name: serverName(cfg), env: e}
	t := &target{name: s.name, env: e, cfg: cfg}
	switch cfg.Scheme {
	case "udp":
		s.way, s.bounded = newPlain(t), true
	case "tcp":
		s.way = newKept(t, t.dialTCP)
	case "tls":
		s.way = newDoT(t)
	case "https":
		s.way = newDoH(t)
	default:
		s.way = newQUIC(t)
	}
	return s
}

// serverName is how the configuration would write the server.
func serverName(cfg Server) string {
	where := cfg.Host
	if where == "" {
		where = cfg.Addr.String()
	}
	return cfg.Scheme + "://" + where + cfg.Path
}

// unknown is the transport of a scheme that this build does not have.
type unknown string

func (u unknown) ask(context.Context, Question) ([]byte, error) {
	return nil, fmt.Errorf("scheme %s is not in this build", string(u))
}

// ask asks the server and keeps its record.
func (s *server) ask(ctx context.Context, q Question) outcome {
	s.env.count.asked.Add(1)
	if !s.bounded {
		var cancel context.CancelFunc
		ctx, cancel = s.env.within(ctx, time.Now().Add(totalTime))
		defer cancel()
	}
	patience := s.health.delay()
	start := time.Now()
	answer, err := s.way.ask(ctx, q)
	took := time.Since(start)
	switch {
	case err == nil && wire.Rcode(answer) == wire.RcodeRefused:
		s.health.failed(start.Add(took))
	case err == nil:
		s.health.answered(took)
	case errors.Is(ctx.Err(), context.Canceled) && took < patience:
		// Ended by another server's answer before its time: no fault of its own.
	case errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, errSilent):
		s.health.overtaken(took, start.Add(took))
		err = fmt.Errorf("asking %s: %w", s.name, err)
	default:
		s.health.failed(start.Add(took))
		err = fmt.Errorf("asking %s: %w", s.name, ofClock(err))
		s.warn(err, start)
	}
	return outcome{answer, err}
}

// ofClock marks the error of a certificate that has ended or not begun.
func ofClock(err error) error {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("%w: %w", ErrClock, err)
	}
	return err
}

// warn tells of a certificate that does not hold: somebody between, or a wrong
// clock. The question fails, and nothing less safe is tried.
func (s *server) warn(err error, now time.Time) {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.warned.IsZero() && now.Sub(s.warned) < warnEvery {
		return
	}
	s.warned = now
	if errors.Is(err, ErrClock) {
		s.env.log.Warn("certificate of DNS server refused; is the clock right?", "server", s.name, "clock", now, "err", err)
		return
	}
	s.env.log.Warn("certificate of DNS server refused", "server", s.name, "err", err)
}

// target is where a server is.
type target struct {
	name string
	env  *env
	cfg  Server
}

// addrs returns the server's addresses, never none.
func (t *target) addrs(ctx context.Context) ([]netip.AddrPort, error) {
	if t.cfg.Addr.Addr().IsValid() {
		return []netip.AddrPort{t.cfg.Addr}, nil
	}
	if t.env.boot == nil {
		return nil, fmt.Errorf("resolving %s: no bootstrap server", t.cfg.Host)
	}
	ctx, cancel := t.env.within(ctx, time.Now().Add(totalTime))
	defer cancel()
	addrs, err := t.env.boot.lookup(ctx, t.cfg.Host)
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", t.cfg.Host, err)
	}
	to := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		to[i] = netip.AddrPortFrom(a, t.cfg.Addr.Port())
	}
	return to, nil
}

// dialTCP connects to the first address that accepts. The conn closes with the
// upstream.
func (t *target) dialTCP(ctx context.Context) (net.Conn, error) {
	addrs, err := t.addrs(ctx)
	if err != nil {
		return nil, err
	}
	for i, addr := range addrs {
		var conn net.Conn
		if conn, err = t.dialOne(ctx, addr, i == len(addrs)-1); err == nil {
			return t.env.keep(conn), nil
		}
	}
	return nil, err
}

func (t *target) dialOne(ctx context.Context, addr netip.AddrPort, last bool) (net.Conn, error) {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, addrPatience)
		defer cancel()
	}
	return t.env.dial.DialTCP(ctx, "", addr)
}

// dialUDP makes a conn to the server's first address.
func (t *target) dialUDP(ctx context.Context) (net.Conn, error) {
	addrs, err := t.addrs(ctx)
	if err != nil {
		return nil, err
	}
	return t.env.dial.DialUDP(ctx, "", addrs[0])
}

// lendUDP is dialUDP for one question.
func (t *target) lendUDP(ctx context.Context) (Lent, error) {
	lender, ok := t.env.dial.(Lender)
	if !ok {
		conn, err := t.dialUDP(ctx)
		return single{conn}, err
	}
	addrs, err := t.addrs(ctx)
	if err != nil {
		return nil, err
	}
	return lender.LendUDP(ctx, addrs[0])
}

// single is a conn that nobody takes back.
type single struct{ net.Conn }

// GiveBack closes it.
func (s single) GiveBack() { s.Close() }

// roomBeside is what a question has beside its name: header, type and class, and
// the OPT record without padding.
const roomBeside = wire.HeaderLen + 2 + 4 + 11

// newQuery writes a question with a given id. With mix, the case of its letters
// is random.
func newQuery(q Question, id uint16, pad, mix bool) ([]byte, error) {
	query, err := wire.AppendQuery(make([]byte, 0, roomBeside+len(q.Name)), q.Name, wire.Ask{
		ID: id, Type: q.Type, Class: q.Class, DO: q.DO, CD: q.CD, Size: wire.MaxUDP, Pad: pad,
	})
	if err == nil && mix {
		var bits [32]byte // one for each of the 255 letters that a name may have
		rand.Read(bits[:])
		wire.MixCase(query, bits[:])
	}
	return query, err
}

func randomID() uint16 {
	var b [2]byte
	rand.Read(b[:])
	return uint16(b[0])<<8 | uint16(b[1])
}
