// Package relay copies bytes both ways between a client and its upstream, in
// the kernel where both are TCP sockets, and ends the one as the other ended.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrIdle is what Pipe returns of a flow in which nothing moved for too long.
var ErrIdle = errors.New("nothing moved for too long")

// Stats counts the payload bytes that a flow's two sides took.
type Stats struct {
	Up   int64 // client to upstream, the head included
	Down int64 // upstream to client
}

// Plus adds those of another flow.
func (s Stats) Plus(other Stats) Stats { return Stats{s.Up + other.Up, s.Down + other.Down} }

// Counts are a flow's Stats while it goes on, for whoever looks at them meanwhile.
type Counts struct{ Up, Down atomic.Int64 }

// Stats are the counts as they are now.
func (c *Counts) Stats() Stats { return Stats{Up: c.Up.Load(), Down: c.Down.Load()} }

// Pipe copies both ways until both directions have ended, and closes both
// sides. The head, which may be empty, was read from the client before and is
// written to the upstream first.
//
// One side's FIN is passed on and leaves the other direction open. Whatever
// else ends a flow (a reset, an error, nothing moving either way for idle, ctx)
// resets both sides, so that neither takes a stump for the whole, and is
// returned: ErrIdle, the cause of ctx, or what was read or written last. An
// idle time of zero means no limit; it is kept to within a quarter.
//
// Both sides should have CloseWrite. One that has not cannot be told that its
// peer has finished, and stays until it ends by itself or the flow is idle.
// Deadlines set on either side before are lifted. What moves is added to counts.
func Pipe(ctx context.Context, client, upstream net.Conn, head []byte, idle time.Duration, counts *Counts) error {
	f := &flow{client: client, upstream: upstream, counts: counts}
	client.SetDeadline(time.Time{})
	upstream.SetDeadline(time.Time{})

	stop := context.AfterFunc(ctx, func() { f.abort(context.Cause(ctx)) })
	defer stop()
	watch := watchIdle(f, idle)
	defer watch.stop()

	down := make(chan struct{})
	go func() {
		defer close(down)
		f.run(newHalf(client, "client", upstream, "upstream", &counts.Down), nil)
	}()
	f.run(newHalf(upstream, "upstream", client, "client", &counts.Up), head)
	<-down

	return f.close()
}

// Abort closes c with a reset where it is a TCP socket: what was not sent yet
// is thrown away, and the peer sees an error instead of an end.
func Abort(c net.Conn) error {
	if s, ok := c.(interface{ SetLinger(sec int) error }); ok {
		s.SetLinger(0)
	}
	return c.Close()
}

// A flow is the pair of connections that Pipe joins.
type flow struct {
	client, upstream net.Conn
	counts           *Counts

	ending sync.Once // guards err and the closing of both sides
	err    error
}

// run copies one half and passes its end on.
func (f *flow) run(h *half, head []byte) {
	if err := h.copy(head); err != nil {
		f.abort(err)
		return
	}
	if c, ok := h.dst.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err != nil {
			f.abort(fmt.Errorf("passing the end on to the %s: %w", h.to, err))
		}
	}
}

// abort resets both sides, which also wakes both halves. Only the first cause
// counts.
func (f *flow) abort(cause error) {
	f.ending.Do(func() {
		f.err = cause
		Abort(f.client)
		Abort(f.upstream)
	})
}

// close ends a flow of which both halves have ended, and gives back why.
func (f *flow) close() error {
	f.ending.Do(func() {
		f.client.Close()
		f.upstream.Close()
	})
	return f.err
}
