package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// silence is how long a connection that was kept from earlier questions may say
// nothing at all before another one is opened beside it: peers and NATs forget idle
// connections without a word.
const silence = time.Second

// errGone is the end of a connection that says nothing about the question, which
// may be asked again on a new one.
var errGone = errors.New("connection lost")

// errConnecting is the failure to open a connection.
var errConnecting = errors.New("connecting")

// kept asks over one connection that is kept open, many questions at a time.
type kept struct {
	target    *target
	env       *env
	open      func(context.Context) (net.Conn, error)
	datagrams bool        // messages need no length, and may get lost
	pad       bool        // the connection is encrypted
	mix       func() bool // random letter case; nil: no
	bare      func() bool // without EDNS; nil: no

	mu      sync.Mutex // guards the fields below
	line    *line      // nil: none is open
	opening *opening   // nil: none is being opened
}

// opening is a connection being made, for all who wait for it.
type opening struct {
	done chan struct{} // closed when the fields below are set
	line *line
	err  error
}

func newKept(t *target, open func(context.Context) (net.Conn, error)) *kept {
	return &kept{target: t, env: t.env, open: open}
}

// ask asks over the open connection, and once more over a new one if that one
// turns out to be dead; servers that end a connection after some answers are
// asked again as long as they give any, and those that end it when several
// questions come at once, by a connection for each.
func (k *kept) ask(ctx context.Context, q Question) ([]byte, error) {
	for first := true; ; first = false {
		l, used, err := k.get(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := l.ask(ctx, q, first && used)
		switch {
		case !errors.Is(err, errGone) || ctx.Err() != nil:
			return answer, orCause(ctx, err)
		case first && used || l.answered():
			k.drop(l)
		case l.crowded() && !k.datagrams:
			return k.askAlone(ctx, q)
		default:
			return nil, err
		}
	}
}

// askAlone asks over a connection that no other question has.
func (k *kept) askAlone(ctx context.Context, q Question) ([]byte, error) {
	conn, err := k.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConnecting, err)
	}
	l := newLine(k, conn)
	k.env.running.Go(l.serve)
	defer l.retire()
	answer, err := l.ask(ctx, q, false)
	return answer, orCause(ctx, err)
}

// get returns the open connection; used tells that it was open before.
func (k *kept) get(ctx context.Context) (l *line, used bool, err error) {
	k.mu.Lock()
	if k.line != nil {
		defer k.mu.Unlock()
		return k.line, true, nil
	}
	o := k.begin()
	k.mu.Unlock()

	select {
	case <-o.done:
		return o.line, false, o.err
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
}

// begin opens a connection, unless one is being opened. The caller holds the lock.
func (k *kept) begin() *opening {
	if k.opening == nil {
		o := &opening{done: make(chan struct{})}
		k.opening = o
		k.env.running.Go(func() { k.connect(o) })
	}
	return k.opening
}

// replace opens a connection beside one that is in doubt, if nobody has yet, and
// tells when that is done.
func (k *kept) replace(l *line) (done <-chan struct{}) {
	k.drop(l)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.line != nil {
		there := make(chan struct{})
		close(there)
		return there
	}
	return k.begin().done
}

// connect opens a connection. It does not end with the question that needed it:
// others may wait for it, or come.
func (k *kept) connect(o *opening) {
	ctx, cancel := context.WithTimeout(k.env.ctx, totalTime)
	defer cancel()
	conn, err := k.open(ctx)
	if err != nil {
		o.err = fmt.Errorf("%w: %w", errConnecting, err)
	} else {
		o.line = newLine(k, conn)
	}

	k.mu.Lock()
	k.line, k.opening = o.line, nil
	k.mu.Unlock()
	close(o.done)
	if o.line != nil {
		k.env.running.Go(o.line.serve)
	}
}

// drop makes later questions open another connection. Those under way on this
// one may still be answered.
func (k *kept) drop(l *line) {
	k.mu.Lock()
	if k.line == l {
		k.line = nil
	}
	k.mu.Unlock()
	l.retire()
}
