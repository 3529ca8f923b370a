package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/gateway/relay"
)

// udpFlow is one UDP flow of a client.
type udpFlow struct {
	s     *sessions
	key   udpKey
	last  atomic.Int64 // sessions.now of the last datagram either way
	began time.Time

	counts relay.Counts

	// Guarded by sessions.mu.
	share   *share
	mapping *mapping

	mu        sync.Mutex // guards the fields below
	state     udpState
	abandoned bool // to be closed as soon as it is open
	waiting   datagrams
	send      func([][]byte) error // set once state is open
	handed    bool                 // the flow was given to the kernel, at handedAt of sessions.now
	handedAt  int64
	conn      net.Conn // own mapping, if not shared
	flow      flow
	verdict   policy.Verdict
	done      func()
}

type udpState uint8

const (
	udpOpening udpState = iota // datagrams are held
	udpOpen
	udpHanded // the kernel carries it
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
	case udpHanded:
		f.straggle(payloads)
	case udpOpen:
		f.counts.Up.Add(size(payloads))
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
	f.replay()
	abandoned := f.abandoned
	f.mu.Unlock()
	if abandoned || f.isOutdated() {
		f.close(nil)
	}
}

// replay sends what was held, in order. The caller holds the lock, so nothing
// that comes meanwhile overtakes it.
func (f *udpFlow) replay() {
	held := f.waiting.all
	f.waiting = datagrams{}
	if f.handed {
		f.state = udpHanded
		f.resend(held)
		return
	}
	f.counts.Up.Add(size(held))
	_ = f.send(held)
	f.state = udpOpen
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
	g.recall(plan, &fl)
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
	if handsBack(fl, v) && f.handBack() {
		return nil
	}
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
	f.done = f.s.g.tally.open(f.verdict.Outbound, &f.counts)
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
		f.counts.Down.Add(int64(n))
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
	refused, handed := f.state == udpRefused, f.state == udpHanded
	f.state = udpClosed
	f.waiting = datagrams{}
	conn, done, fl, v := f.conn, f.done, f.flow, f.verdict
	f.mu.Unlock()

	f.s.remove(f)
	if conn != nil {
		conn.Close()
	}
	if done != nil {
		done()
	}
	f.s.g.release(&fl)
	if !refused && errors.Is(err, net.ErrClosed) {
		err = nil // closed by us
	}
	if !handed { // else it was logged when it was handed back
		f.s.g.logFlow(context.Background(), &fl, v, f.counts.Stats(), f.began, err)
	}
}
