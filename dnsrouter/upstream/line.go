package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// writeTime bounds the sending of one question.
const writeTime = 2 * time.Second

// errInPart is a truncated answer where nothing can be too long.
var errInPart = errors.New("truncated answer over a stream")

// line is one connection of a kept: any number of questions under way, told
// apart by their ids.
type line struct {
	kept *kept
	conn net.Conn

	writing sync.Mutex // orders whole messages

	mu      sync.Mutex // guards the fields below
	waiting map[uint16]*waiter
	entered int // questions that it was to carry
	heard   int // messages received
	settled int // questions answered
	retired bool
	ended   bool
	idle    *time.Timer
}

// waiter is a question that waits for its answer.
type waiter struct {
	id    uint16
	query []byte // with the length before it, on a stream
	mix   bool
	wrong int
	done  chan outcome // has room for one
}

func newLine(k *kept, conn net.Conn) *line {
	l := &line{kept: k, conn: conn, waiting: make(map[uint16]*waiter)}
	l.idle = time.AfterFunc(k.env.idle, l.closeIdle)
	return l
}

// ask sends a question and waits for its answer. With doubt, a connection that
// says nothing for a while is given up with errGone as soon as there is another.
func (l *line) ask(ctx context.Context, q Question, doubt bool) ([]byte, error) {
	w, heard, err := l.enter(q)
	if err != nil {
		return nil, err
	}
	defer l.leave(w)
	l.kept.target.told(q, l.conn)
	if err := l.send(w); err != nil {
		return nil, err
	}

	var silent, resend <-chan time.Time
	var replaced <-chan struct{}
	if doubt {
		silent = time.After(silence)
	}
	if l.kept.datagrams {
		resend = time.After(resendAfter(0))
	}
	for sent := 1; ; {
		select {
		case o := <-w.done:
			return o.answer, o.err
		case <-silent:
			if l.heardOf() == heard {
				replaced = l.kept.replace(l)
			}
		case <-replaced:
			return nil, errGone
		case <-resend:
			if err := l.send(w); err != nil {
				return nil, err
			}
			resend = time.After(resendAfter(sent))
			sent++
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// enter gives a question an id that no other has, and returns what was heard
// before it.
func (l *line) enter(q Question) (*waiter, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entered++
	if l.ended {
		return nil, 0, errGone
	}
	id := randomID()
	for l.waiting[id] != nil {
		id = randomID()
	}
	w := &waiter{id: id, mix: l.kept.mix != nil && l.kept.mix(), done: make(chan outcome, 1)}
	query, err := newQuery(q, id, l.kept.pad, w.mix)
	if err != nil {
		return nil, 0, err
	}
	if l.kept.bare != nil && l.kept.bare() {
		query = wire.WithoutEDNS(query)
	}
	w.query = query
	l.waiting[id] = w
	return w, l.heard, nil
}

// leave ends a question's wait, and the last one begins the idle time.
func (l *line) leave(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, w.id)
	if len(l.waiting) > 0 || l.ended {
		return
	}
	if l.retired {
		l.conn.Close()
		return
	}
	l.idle.Reset(l.kept.env.idle)
}

func (l *line) send(w *waiter) error {
	msg := w.query
	if !l.kept.datagrams {
		// In one piece: some servers want length and message in one segment
		// (RFC 7766 section 8).
		msg = framed(msg)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.conn.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := l.conn.Write(msg); err != nil {
		l.conn.Close() // a stream that ends within a message is of no use
		return errGone
	}
	return nil
}

// framed puts its length before a message, as streams need it.
func framed(msg []byte) []byte {
	return append([]byte{byte(len(msg) >> 8), byte(len(msg))}, msg...)
}

// serve reads answers until the connection ends.
func (l *line) serve() {
	read := l.readStream()
	if l.kept.datagrams {
		read = l.readDatagram()
	}
	for {
		msg, err := read()
		if err != nil {
			break
		}
		l.deliver(msg)
	}
	l.conn.Close()
	l.kept.drop(l)
	l.end()
}

func (l *line) readStream() func() ([]byte, error) {
	in := bufio.NewReaderSize(l.conn, 2048)
	return func() ([]byte, error) {
		var size [2]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return nil, err
		}
		msg := make([]byte, int(size[0])<<8|int(size[1]))
		_, err := io.ReadFull(in, msg)
		return msg, err
	}
}

func (l *line) readDatagram() func() ([]byte, error) {
	buf := make([]byte, wire.MaxUDP+1)
	return func() ([]byte, error) {
		n, err := l.conn.Read(buf)
		return slices.Clone(buf[:n]), err
	}
}

// deliver gives a message to the question that it answers. A wrong one counts
// against every question under way, since nobody knows whose it should be; on a
// stream an answer that nobody waits for is merely late.
func (l *line) deliver(msg []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard++
	var w *waiter
	if len(msg) >= wire.HeaderLen {
		w = l.waiting[uint16(msg[0])<<8|uint16(msg[1])]
	}
	switch {
	case w == nil && !l.kept.datagrams:
		return
	case w != nil:
		if err := l.judge(msg, w); settles(err) {
			l.settled++
			w.finish(outcome{msg, err})
			return
		}
	}
	l.kept.env.count.wrong.Add(1)
	for _, w := range l.waiting {
		if w.wrong++; w.wrong > maxWrong {
			w.finish(outcome{err: errForged})
		}
	}
}

func (l *line) judge(msg []byte, w *waiter) error {
	if l.kept.datagrams {
		return accept(msg, w.query, w.mix)
	}
	err := wire.Validate(msg, w.query, false)
	if err == nil && wire.IsTruncated(msg) {
		return errInPart
	}
	return err
}

// finish keeps the first outcome.
func (w *waiter) finish(o outcome) {
	select {
	case w.done <- o:
	default:
	}
}

// end tells those who wait that nothing more will come.
func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.idle.Stop()
	for _, w := range l.waiting {
		w.finish(outcome{err: errGone})
	}
}

// retire closes the connection when nobody waits for it any more.
func (l *line) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
	if len(l.waiting) == 0 {
		l.conn.Close()
	}
}

// closeIdle ends a connection that was not used for a while; serve sees to the
// rest.
func (l *line) closeIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.conn.Close()
	}
}

// crowded tells whether it was to carry more than one question.
func (l *line) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entered > 1
}

// answered tells whether it brought any answer, which not every message is.
func (l *line) answered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settled > 0
}

// heardOf counts the messages received.
func (l *line) heardOf() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard
}
