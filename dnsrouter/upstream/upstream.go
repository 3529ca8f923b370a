// Package upstream asks DNS servers elsewhere: over UDP, TCP, TLS and HTTPS, by
// whatever way the Dialer goes, and trusts only answers to the question asked.
//
// An [Upstream] is a group of servers of equal standing. A question goes to the
// best of them, to the next when that one is slow or fails, and never to anyone
// else.
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

const (
	// maxFlights is how many different questions may be under way: what a
	// household never reaches, and a flood of random names cannot exceed.
	maxFlights = 512

	// totalTime is when a question is given up, whatever its callers' contexts
	// say: stub resolvers ask again after five seconds.
	totalTime = 4 * time.Second

	// idleTime is how long a kept connection without questions stays open.
	idleTime = 30 * time.Second
)

// ErrBusy is the error of a question beyond those that may be under way at once.
var ErrBusy = errors.New("too many questions under way")

// ErrClosed is the error of a question to an Upstream that is or was closed
// meanwhile.
var ErrClosed = errors.New("upstream closed")

// ErrClock is the error of a question to servers of which one has a certificate
// that does not hold at this time. Either the clock is wrong or the certificate.
var ErrClock = errors.New("the certificate does not hold at the time of this machine's clock")

// Dialer is how the questions travel: an outbound. Host is empty, since only
// Bootstrap resolves a server's name.
type Dialer interface {
	DialTCP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error)
	DialUDP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error)
}

// Lender is a Dialer that lends sockets for a question each, because to make one
// takes longer than to ask by it. LendUDP is DialUDP: a port is random each time,
// whatever socket it is of. A deadline may still be set.
type Lender interface {
	LendUDP(ctx context.Context, to netip.AddrPort) (Lent, error)
}

// Lent is a conn that is given back by whoever has it alone and has read all that
// was to come, or else closed. It is an alias, so that lenders need not import
// this package.
type Lent = interface {
	net.Conn
	GiveBack()
}

// Node is a Dialer by way of another machine. UDP through it is dear, so one conn is
// kept for many questions; and it may be gone without a word, so a question during
// which Heard gives one number is given up before its time. Heard changes whenever
// the machine has said something.
type Node interface {
	Dialer
	Heard() uint32
}

// Question is what is asked. Questions that are equal are asked once.
type Question struct {
	Name        string // presentation form, lower-case, without trailing dot; "" is the root
	Type, Class uint16
	DO, CD      bool // DNSSEC records wanted, checking disabled
}

// Options are what an Upstream needs beside its Config. The zero Options will do.
type Options struct {
	Log             *slog.Logger            // nil: nothing is logged
	TLS             *tls.Config             // roots and clock for tls and https; nil: the system's
	Auto            func() []netip.AddrPort // the WAN's own resolvers, asked for with each question
	BootstrapDialer Dialer                  // for Config.Bootstrap; nil: the Upstream's own
	Record          Recorder                // is told of what is asked; may be nil
}

// Upstream asks the servers of one Config. It is safe for concurrent use.
type Upstream struct {
	name   string
	list   []Server // as configured
	auto   func() []netip.AddrPort
	boot   *bootstrap // nil: there is none
	env    *env
	cancel context.CancelFunc // ends env.ctx

	mu      sync.Mutex // guards the fields below
	closed  bool
	flights map[Question]*flight
	known   []Server  // those in use; the ones of auto come and go
	servers []*server // of each of known
}

// flight is one question under way. Whoever asked first sees to it; others who ask
// the same wait for it.
type flight struct {
	before []*flight // those for the same records that were under way first

	done   chan struct{} // closed when the fields below are set
	answer []byte
	err    error
	left   bool // whoever asked first did not wait for the end
}

// New makes an Upstream; nothing is dialled before the first question.
func New(cfg Config, d Dialer, opts Options) *Upstream {
	ctx, cancel := context.WithCancel(context.Background())
	u := &Upstream{
		name:    cfg.Name,
		auto:    opts.Auto,
		cancel:  cancel,
		list:    cfg.Servers,
		flights: make(map[Question]*flight),
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Bootstrap) > 0 {
		u.boot = newBootstrap(cfg, d, opts)
	}
	node, _ := d.(Node)
	u.env = &env{
		name: cfg.Name, record: opts.Record,
		ctx: ctx, dial: d, node: node, boot: u.boot, idle: idleTime,
		log: opts.Log.With("upstream", cfg.Name), tls: opts.TLS,
	}
	return u
}

// Exchange asks the question and returns the response in wire form as received:
// checked (wire.Validate), with its OPT record and another id than the client's.
// Callers with the same question share the bytes and must not change them. It
// never asks anyone but this upstream's servers. Answers other than success and
// "no such name" are returned only if no server gave a better one.
func (u *Upstream) Exchange(ctx context.Context, q Question) ([]byte, error) {
	if _, err := wire.AppendName(make([]byte, 0, wire.MaxName), q.Name); err != nil {
		return nil, fmt.Errorf("asking upstream %s for %q: %w", u.name, q.Name, err)
	}
	for {
		f, first, err := u.join(q)
		if err != nil {
			return nil, fmt.Errorf("asking upstream %s: %w", u.name, err)
		}
		if first {
			u.fly(ctx, q, f)
			return f.answer, f.err
		}
		select {
		case <-f.done:
			if !f.left {
				return f.answer, f.err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("asking upstream %s for %q: %w", u.name, q.Name, context.Cause(ctx))
		}
	}
}

// join finds the flight of a question or begins one, which the caller has to fly.
func (u *Upstream) join(q Question) (f *flight, first bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, false, ErrClosed
	}
	if f := u.flights[q]; f != nil {
		u.env.count.merged.Add(1)
		return f, false, nil
	}
	if len(u.flights) >= maxFlights {
		return nil, false, ErrBusy
	}
	f = &flight{before: u.alike(q), done: make(chan struct{})}
	u.flights[q] = f
	u.env.running.Add(1)
	return f, true, nil
}

// alike are the flights for the same records as a question with other flags.
func (u *Upstream) alike(q Question) (others []*flight) {
	for _, do := range []bool{false, true} {
		for _, cd := range []bool{false, true} {
			q.DO, q.CD = do, cd
			if f := u.flights[q]; f != nil {
				others = append(others, f)
			}
		}
	}
	return others
}

// fly asks once the flights before it have ended.
func (u *Upstream) fly(ctx context.Context, q Question, f *flight) {
	defer u.env.running.Done()
	others := f.before
	f.before = nil // or each would hold the one before it
	if f.answer, f.err = u.after(ctx, others, q); f.err != nil {
		f.left = ctx.Err() != nil
		if u.env.ctx.Err() != nil {
			f.err = ErrClosed // whatever that looked like to those who asked
		}
		f.err = fmt.Errorf("asking upstream %s for %q: %w", u.name, q.Name, f.err)
	}
	u.mu.Lock()
	delete(u.flights, q)
	u.mu.Unlock()
	close(f.done)
}

// after asks when other flights have ended: of several questions under way for the
// same records, a forger would only have to hit any one.
func (u *Upstream) after(ctx context.Context, others []*flight, q Question) ([]byte, error) {
	if len(others) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, totalTime)
		defer cancel()
	}
	for _, other := range others {
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return u.hedge(ctx, q)
}

// current returns the servers that may be asked now, in the order configured.
func (u *Upstream) current() []*server {
	wanted := u.wanted()
	u.mu.Lock()
	defer u.mu.Unlock()
	if slices.Equal(wanted, u.known) {
		return u.servers
	}
	var known []Server
	var servers []*server
	for _, cfg := range wanted {
		if slices.Contains(known, cfg) {
			continue
		}
		var s *server
		if i := slices.Index(u.known, cfg); i >= 0 {
			s = u.servers[i]
		} else {
			s = newServer(u.env, cfg)
		}
		known, servers = append(known, cfg), append(servers, s)
	}
	u.known, u.servers = known, servers // connections of those that went close when idle
	return servers
}

// wanted are the servers that are configured.
func (u *Upstream) wanted() []Server {
	isAuto := func(s Server) bool { return s.Scheme == "auto" }
	if !slices.ContainsFunc(u.list, isAuto) {
		return u.list
	}
	var wanted []Server
	for _, s := range u.list {
		switch {
		case !isAuto(s):
			wanted = append(wanted, s)
		case u.auto != nil:
			for _, addr := range u.auto() {
				wanted = append(wanted, Server{Scheme: "udp", Addr: addr})
			}
		}
	}
	return wanted
}

// Close ends all questions and connections and waits for them.
func (u *Upstream) Close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.cancel()
	u.env.asking.close()
	if u.boot != nil {
		u.boot.servers.Close()
	}
	u.env.running.Wait()
}
