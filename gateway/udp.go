package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

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

// count is how many flows we carry: not those that the kernel took back.
func (s *sessions) count() int {
	n := 0
	for _, f := range s.all() {
		if !f.isHanded() {
			n++
		}
	}
	return n
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
	key := s.key(client, dialled)
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

// key tells which flow a datagram is of. Flows that are known need no asking.
func (s *sessions) key(client, dialled netip.AddrPort) udpKey {
	key := udpKey{client, dialled}
	s.mu.Lock()
	_, known := s.flows[key]
	s.mu.Unlock()
	if back := s.g.cfg.HandBack; back != nil && !known {
		key.client = back.Unmask(client, dialled)
	}
	return key
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
	now := s.now()
	s.forgetShares()
	for _, f := range s.all() {
		if f.last.Load() < now-int64(f.idleTime()) {
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
			f.counts.Down.Add(int64(n))
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
