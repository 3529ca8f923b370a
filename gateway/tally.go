package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/gateway/relay"
)

// Status is what the gateway carries and has carried.
type Status struct {
	TCP, UDP   int   // flows under way
	HandedBack int64 // UDP flows that were given to the kernel since the start
	Outbounds  map[string]OutboundStatus
}

// OutboundStatus is what one outbound carried through the daemon so far.
type OutboundStatus struct {
	State            State // how the last dial went
	Flows            int64 // under way
	TxBytes, RxBytes int64 // towards and from the destination
}

// State says how the last dial through an outbound went.
type State int32

// The states of an outbound.
const (
	Unused State = iota
	Up
	Down
)

// String gives the state as one word: unused, up or down.
func (s State) String() string {
	return [...]string{"unused", "up", "down"}[s]
}

// tally counts flows and bytes by outbound.
type tally struct {
	mu     sync.Mutex // guards the fields below
	counts map[string]*counter
}

type counter struct {
	state atomic.Int32

	mu       sync.Mutex // guards the fields below
	underWay map[*relay.Counts]struct{}
	ended    relay.Stats // of all others together
}

func newTally() *tally { return &tally{counts: make(map[string]*counter)} }

func (t *tally) counter(outbound string) *counter {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[outbound]
	if c == nil {
		c = &counter{underWay: make(map[*relay.Counts]struct{})}
		t.counts[outbound] = c
	}
	return c
}

// open counts a flow and its bytes as under way until the function that it
// returns is called.
func (t *tally) open(outbound string, counts *relay.Counts) (done func()) {
	c := t.counter(outbound)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay[counts] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.underWay, counts)
		c.ended = c.ended.Plus(counts.Stats())
	}
}

func (c *counter) status() OutboundStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.ended
	for counts := range c.underWay {
		all = all.Plus(counts.Stats())
	}
	return OutboundStatus{State: State(c.state.Load()), Flows: int64(len(c.underWay)), TxBytes: all.Up, RxBytes: all.Down}
}

// alive is what an error says of its outbound when only the destination failed.
type alive interface{ Alive() bool }

// dialled notes how a dial went. That a destination refuses, or a node says so
// of one, does not make the outbound a dead one.
func (t *tally) dialled(outbound string, err error) {
	state := Up
	var only alive
	refused := errors.Is(err, syscall.ECONNREFUSED) && outbound == "direct"
	if err != nil && !refused && !(errors.As(err, &only) && only.Alive()) {
		state = Down
	}
	t.counter(outbound).state.Store(int32(state))
}

func (t *tally) status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{Outbounds: make(map[string]OutboundStatus, len(t.counts))}
	for name, c := range t.counts {
		s.Outbounds[name] = c.status()
	}
	return s
}

// census counts connections by device and keeps one device from taking the
// places of all others.
type census struct {
	most int

	mu   sync.Mutex // guards the fields below
	all  int
	each map[policy.DeviceKey]int
}

func newCensus(most int) *census { return &census{most: most, each: make(map[policy.DeviceKey]int)} }

// enter takes a place, unless all are taken or the device has two thirds of them.
func (c *census) enter(k policy.DeviceKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.most || c.each[k] >= c.most*2/3 {
		return false
	}
	c.all++
	c.each[k]++
	return true
}

func (c *census) leave(k policy.DeviceKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.each[k]--; c.each[k] == 0 {
		delete(c.each, k)
	}
}

func (c *census) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// logFlow writes the one line of a flow, when it ends.
func (g *Gateway) logFlow(ctx context.Context, f *flow, v policy.Verdict, s relay.Stats, began time.Time, err error) {
	if !g.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	attrs := append(f.attrs(v),
		slog.Int64("up", s.Up),
		slog.Int64("down", s.Down),
		slog.Duration("took", time.Since(began).Round(time.Millisecond)))
	if err != nil {
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	g.log.LogAttrs(ctx, slog.LevelInfo, "flow", attrs...)
}

// logHandedBack writes the one line of a flow that the kernel carries: nobody
// will tell of its end.
func (g *Gateway) logHandedBack(f *flow, v policy.Verdict) {
	g.log.LogAttrs(context.Background(), slog.LevelInfo, "flow", append(f.attrs(v), slog.Bool("handed_back", true))...)
}

// attrs are what every line of a flow says.
func (f *flow) attrs(v policy.Verdict) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("proto", f.facts.Proto.String()),
		slog.String("client", f.client.String()),
		slog.String("dst", f.dialled.String()),
		slog.String("host", f.facts.Host),
		slog.String("rule", v.Rule),
		slog.String("outbound", v.Outbound),
	}
	if f.facts.Protocol != policy.UnknownProtocol {
		attrs = append(attrs, slog.String("protocol", f.facts.Protocol.String()))
	}
	return attrs
}
