package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/gateway/relay"
	"github.com/fairlead/fairlead/gateway/tproxy"
)

const (
	// sweepEvery is how often idle UDP flows are looked for.
	sweepEvery = 10 * time.Second
	// refusedFor is how long a refused flow is remembered, so that a client
	// that goes on sending does not cause a dial with every datagram.
	refusedFor = 2 * time.Second
	// maxDatagram is the longest datagram relayed towards a client; a longer one
	// is dropped, not cut.
	maxDatagram = 4096
)

// udpKey is one UDP flow as the client sees it.
type udpKey struct{ client, dialled netip.AddrPort }

// mappingKey is one socket of a client and the outbound that its literal peers
// share a mapping through (RFC 4787 REQ-1: endpoint-independent mapping).
type mappingKey struct {
	client   netip.AddrPort
	outbound string
	v6       bool
}

// sessions are the UDP flows under way.
type sessions struct {
	g     *Gateway
	began time.Time // of the clock that udpFlow.last is read from

	mu       sync.Mutex // guards the fields below
	flows    map[udpKey]*udpFlow
	mappings map[mappingKey]*mapping
	shares   map[netip.Addr]*share // by client
	pending  int
}

func newSessions(g *Gateway) *sessions {
	return &sessions{
		g: g, began: time.Now(),
		flows:    make(map[udpKey]*udpFlow),
		mappings: make(map[mappingKey]*mapping),
		shares:   make(map[netip.Addr]*share),
	}
}

func (s *sessions) now() int64 { return int64(time.Since(s.began)) }

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flows)
}

// ServeUDP relays diverted datagrams until ctx ends, then closes their flows.
func (g *Gateway) ServeUDP(ctx context.Context, l *tproxy.UDPListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer g.udp.closeAll()
	var run [][]byte
	for {
		payloads, client, dialled, err := l.ReadRun(run[:0])
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			g.log.Warn("receiving diverted datagrams", "err", err)
			pause(ctx, 50*time.Millisecond)
			continue
		}
		g.udp.deliverRun(ctx, payloads, client, dialled)
		run = payloads
	}
}

// Sweep closes idle UDP flows until ctx ends.
func (g *Gateway) Sweep(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			g.udp.sweep()
		}
	}
}

// deliverRun hands datagrams to their flow, which is opened if they are the first.
func (s *sessions) deliverRun(ctx context.Context, payloads [][]byte, client, dialled netip.AddrPort) {
	key := udpKey{client, dialled}
	s.mu.Lock()
	f := s.flows[key]
	fresh := f == nil
	if fresh {
		if f = s.admit(key); f == nil {
			s.mu.Unlock()
			return // lost, as in any full queue
		}
	}
	f.touch()
	s.mu.Unlock()

	if !f.held(payloads) {
		f.forward(payloads)
	}
	if fresh {
		go f.open(ctx)
	}
}

// opened counts a flow no longer as pending.
func (s *sessions) opened(f *udpFlow) {
	s.mu.Lock()
	s.pending--
	f.share.pending--
	s.mu.Unlock()
}

// remove forgets a flow and what it holds of others.
func (s *sessions) remove(f *udpFlow) {
	s.mu.Lock()
	if s.flows[f.key] == f {
		delete(s.flows, f.key)
	}
	f.share.drop(f)
	m := f.mapping
	if m != nil {
		if m.users--; m.users > 0 {
			m = nil
		} else {
			s.forget(m)
		}
	}
	s.mu.Unlock()
	if m != nil {
		m.conn.Close()
	}
}

func (s *sessions) sweep() {
	idle := s.now() - int64(s.g.cfg.Limits.UDPIdle)
	s.forgetShares()
	for _, f := range s.all() {
		if f.last.Load() < idle {
			f.close(nil)
		}
	}
}

func (s *sessions) closeAll() {
	for _, f := range s.all() {
		f.close(nil)
	}
}

func (s *sessions) all() []*udpFlow {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*udpFlow, 0, len(s.flows))
	for _, f := range s.flows {
		list = append(list, f)
	}
	return list
}

// mapping is one socket towards the world that all literal peers of one client
// socket share.
type mapping struct {
	key   mappingKey
	conn  PacketConn
	users int // flows; guarded by sessions.mu
}

// mapping gives the mapping that f shares, opening it if f is the first.
func (s *sessions) mapping(ctx context.Context, f *udpFlow, outbound string, out Outbound) (*mapping, error) {
	key := mappingKey{f.key.client, outbound, f.key.dialled.Addr().Is6()}
	if m := s.join(f, key, nil); m != nil {
		return m, nil
	}
	conn, err := out.ListenUDP(ctx, key.v6)
	s.g.tally.dialled(outbound, err)
	if err != nil {
		return nil, err
	}
	m := s.join(f, key, conn)
	if m.conn != conn {
		conn.Close() // another flow of this socket was faster
		return m, nil
	}
	go s.pump(m)
	return m, nil
}

// join gives f a place in the mapping of key; with a conn, it is made if missing.
func (s *sessions) join(f *udpFlow, key mappingKey, conn PacketConn) *mapping {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mappings[key]
	if m == nil {
		if conn == nil {
			return nil
		}
		m = &mapping{key: key, conn: conn}
		s.mappings[key] = m
	}
	m.users++
	f.mapping = m
	return m
}

// pump carries what comes back through a mapping to its client, from whatever
// peer it comes (RFC 4787 REQ-8: endpoint-independent filtering). It ends when
// the mapping is closed, or when its outbound breaks; then the client's next
// datagram opens a new one.
func (s *sessions) pump(m *mapping) {
	buf := make([]byte, maxDatagram+1)
	for {
		n, from, err := m.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			s.closeUsers(m, err)
			return
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if from.Addr().Is4() == m.key.v6 || n > maxDatagram {
			continue // a node may say what it likes
		}
		s.mu.Lock()
		f := s.flows[udpKey{m.key.client, from}]
		s.mu.Unlock()
		if f != nil {
			f.touch()
			f.rx.Add(int64(n))
		}
		if err := s.g.cfg.Sender.Send(buf[:n], from, m.key.client); err != nil {
			s.g.log.Debug("answering", "err", err)
		}
	}
}

// forget keeps new flows from joining a mapping. The caller holds s.mu.
func (s *sessions) forget(m *mapping) {
	if s.mappings[m.key] == m {
		delete(s.mappings, m.key)
	}
}

// closeUsers ends the flows of a mapping that has ended.
func (s *sessions) closeUsers(m *mapping, err error) {
	s.mu.Lock()
	s.forget(m)
	s.mu.Unlock()
	for _, f := range s.all() {
		if f.uses(m) {
			f.close(err)
		}
	}
}

// udpFlow is one UDP flow of a client.
type udpFlow struct {
	s     *sessions
	key   udpKey
	last  atomic.Int64 // sessions.now of the last datagram either way
	tx    atomic.Int64
	rx    atomic.Int64
	began time.Time

	// Guarded by sessions.mu.
	share   *share
	mapping *mapping

	mu        sync.Mutex // guards the fields below
	state     udpState
	abandoned bool // to be closed as soon as it is open
	waiting   datagrams
	send      func([][]byte) error // set once state is open
	conn      net.Conn             // own mapping, if not shared
	flow      flow
	verdict   policy.Verdict
	done      func(tx, rx int64)
}

type udpState uint8

const (
	udpOpening udpState = iota // datagrams are held
	udpOpen
	udpRefused
	udpClosed
)

func newUDPFlow(s *sessions, key udpKey) *udpFlow {
	f := &udpFlow{s: s, key: key, began: time.Now()}
	f.waiting.more = make(chan struct{}, 1)
	return f
}

func (f *udpFlow) touch() { f.last.Store(f.s.now()) }

func (f *udpFlow) uses(m *mapping) bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return f.mapping == m
}

// held keeps datagrams that come before the flow is open. It says false if the
// flow takes datagrams itself.
func (f *udpFlow) held(payloads [][]byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != udpOpening {
		return false
	}
	for _, p := range payloads {
		f.waiting.add(p, f.s.g.cfg.Limits.PendingBytes)
	}
	return true
}

// forward sends datagrams on their way; a refused flow hears so again.
func (f *udpFlow) forward(payloads [][]byte) {
	f.mu.Lock()
	state, send := f.state, f.send
	f.mu.Unlock()
	switch state {
	case udpOpen:
		f.tx.Add(size(payloads))
		if err := send(payloads); err != nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled)) {
			f.close(err)
		}
	case udpRefused:
		_ = f.s.g.cfg.Sender.Unreachable(f.key.client, f.key.dialled)
	}
}

// open names, decides and dials, and then sends what was held.
func (f *udpFlow) open(ctx context.Context) {
	err := f.dial(ctx)
	f.s.opened(f)
	if err != nil {
		f.refuse(err)
		return
	}
	f.mu.Lock()
	f.tx.Add(size(f.waiting.all))
	_ = f.send(f.waiting.all)
	f.waiting = datagrams{}
	f.state = udpOpen
	abandoned := f.abandoned
	f.mu.Unlock()
	if abandoned {
		f.close(nil)
	}
}

// dial takes the verdict and opens the way.
func (f *udpFlow) dial(ctx context.Context) error {
	g := f.s.g
	plan := g.plan.Load()
	fl, err := g.identify(plan.Policy, f.key.client, f.key.dialled, policy.UDP)
	f.mu.Lock()
	f.flow = fl
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if telling(plan, &fl) {
		g.learn(plan.Policy, &fl, f.sniff(ctx))
	}
	v, err := g.decide(ctx, plan.Policy, &fl)
	f.mu.Lock()
	f.flow, f.verdict = fl, v
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.connect(ctx, plan, &fl, v)
}

// connect opens the flow's own way if it is for a name, or joins the mapping
// that the client's socket has for literal peers.
func (f *udpFlow) connect(ctx context.Context, plan *Plan, fl *flow, v policy.Verdict) error {
	out, ok := plan.Outbounds[v.Outbound]
	if v.Kind == policy.Reject || !ok {
		return errRefused
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if fl.fake == "" {
		m, err := f.s.mapping(ctx, f, v.Outbound, out)
		if err != nil {
			return err
		}
		f.ready(nil, sendingTo(m.conn, f.key.dialled))
		return nil
	}
	host, to := f.s.g.target(fl, v)
	conn, err := out.DialUDP(ctx, host, to)
	f.s.g.tally.dialled(v.Outbound, err)
	if err != nil {
		return err
	}
	f.ready(conn, sending(conn))
	go f.pump(conn)
	return nil
}

func (f *udpFlow) ready(conn net.Conn, send func([][]byte) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn, f.send = conn, send
	f.done = f.s.g.tally.open(f.verdict.Outbound)
}

// pump carries what comes back through the flow's own mapping; whoever the
// node says it is from, the client sees the address that it sent to.
func (f *udpFlow) pump(conn net.Conn) {
	buf := make([]byte, maxDatagram+1)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) {
				_ = f.s.g.cfg.Sender.Unreachable(f.key.client, f.key.dialled)
			}
			f.close(err)
			return
		}
		if n > maxDatagram {
			continue
		}
		f.touch()
		f.rx.Add(int64(n))
		if err := f.s.g.cfg.Sender.Send(buf[:n], f.key.dialled, f.key.client); err != nil {
			f.s.g.log.Debug("answering", "err", err)
		}
	}
}

// refuse tells the client, and remembers the refusal for a moment.
func (f *udpFlow) refuse(err error) {
	f.mu.Lock()
	f.state = udpRefused
	f.waiting = datagrams{}
	f.mu.Unlock()
	_ = f.s.g.cfg.Sender.Unreachable(f.key.client, f.key.dialled)
	time.AfterFunc(refusedFor, func() { f.close(err) })
}

// close ends a flow, once, and logs it. The client's next datagram opens a new
// one. A flow that is being opened is closed when it is open.
func (f *udpFlow) close(err error) {
	f.mu.Lock()
	if f.state == udpOpening {
		f.abandoned = true
	}
	if f.state == udpOpening || f.state == udpClosed {
		f.mu.Unlock()
		return
	}
	refused := f.state == udpRefused
	f.state = udpClosed
	f.waiting = datagrams{}
	conn, done, fl, v := f.conn, f.done, f.flow, f.verdict
	f.mu.Unlock()

	f.s.remove(f)
	if conn != nil {
		conn.Close()
	}
	if done != nil {
		done(f.tx.Load(), f.rx.Load())
	}
	f.s.g.release(&fl)
	if !refused && errors.Is(err, net.ErrClosed) {
		err = nil // closed by us
	}
	f.s.g.logFlow(context.Background(), &fl, v, relay.Stats{Up: f.tx.Load(), Down: f.rx.Load()}, f.began, err)
}
