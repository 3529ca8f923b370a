package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/gateway/relay"
	"github.com/fairlead/fairlead/sniff"
)

const (
	// silence is how long a client may say nothing before its connection is
	// dialled by its address, so that a protocol in which the server speaks
	// first loses no more than this.
	silence = 30 * time.Millisecond
	// hesitation is how long a client that has begun to speak may take to
	// finish what is sniffed.
	hesitation = 300 * time.Millisecond
	// patience is how long a silent client is waited for when its address
	// alone would be refused, but a name could save it.
	patience = 4500 * time.Millisecond
)

// opening is a connection from its accept until both ends are joined.
type opening struct {
	g        *Gateway
	plan     *Plan
	flow     *flow
	client   *net.TCPConn
	upstream net.Conn       // nil until dialled
	verdict  policy.Verdict // of what upstream was dialled for
	host     string         // that upstream was dialled by; empty: the address
	head     []byte         // read from the client already
	answer   []byte         // read from upstream already
	buf      *[]byte        // head's memory
}

// headBuffers hold what is read of a client before its way is known. They go
// back before the relaying begins, and while a client is silent, so that a long
// connection costs none.
var headBuffers = sync.Pool{New: func() any { b := make([]byte, sniff.MaxStream); return &b }}

// close ends an opening. A connection that was not joined is reset, like its
// client.
func (o *opening) close() {
	if o.upstream != nil {
		relay.Abort(o.upstream)
	}
	o.recycle()
}

func (o *opening) recycle() {
	if o.buf != nil {
		headBuffers.Put(o.buf)
		o.buf, o.head = nil, nil
	}
}

// listen reads the first bytes of the client and adds what they tell to the
// flow. A client that stays silent is dialled by its address meanwhile; if its
// server speaks first, nothing is left to be told.
func (o *opening) listen(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { relay.Abort(o.client) })
	defer stop()
	o.buf = headBuffers.Get().(*[]byte)
	err := o.read(time.Now().Add(silence))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		o.recycle()
		return o.wait(ctx)
	case broken(err):
		return err
	}
	return o.hear()
}

// read takes one piece from the client.
func (o *opening) read(deadline time.Time) error {
	if err := o.client.SetReadDeadline(deadline); err != nil {
		return err
	}
	return o.readMore()
}

// readMore takes one piece from the client, by the deadline that is set.
func (o *opening) readMore() error {
	if o.buf == nil {
		if err := readable(o.client); err != nil {
			return err
		}
		o.buf = headBuffers.Get().(*[]byte)
	}
	n, err := o.client.Read((*o.buf)[len(o.head):])
	o.head = (*o.buf)[:len(o.head)+n]
	if n > 0 {
		return nil
	}
	return err
}

// readable waits until there is something to read, or the end. A reset is told
// by the kernel only once, so it is passed on from here.
func readable(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, failed = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return failed != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return failed
}

// hear sniffs what the client says until that is told, or it ends, or takes
// too long. What cannot be told is left to its address.
func (o *opening) hear() error {
	deadline := time.Now().Add(hesitation)
	result, err := sniff.Stream(o.head)
	for errors.Is(err, sniff.ErrMore) && len(o.head) < len(*o.buf) {
		ended := o.read(deadline)
		if broken(ended) {
			return ended
		}
		if ended != nil {
			break
		}
		result, err = sniff.Stream(o.head)
	}
	o.g.learn(o.plan.Policy, o.flow, result)
	return nil
}

// wait dials for a silent client by its address and waits for whoever speaks
// first. If the address alone leads nowhere, the client's words are waited for:
// a name could still save it.
func (o *opening) wait(ctx context.Context) error {
	began := time.Now()
	silent := *o.flow
	o.g.learn(o.plan.Policy, &silent, sniff.Result{})
	if err := o.settle(ctx, &silent); err != nil {
		if o.read(began.Add(patience)) != nil {
			return err
		}
		return o.hear()
	}
	client, err := o.firstWord()
	if client {
		return o.hear()
	}
	*o.flow = silent
	return err
}

// firstWord waits for the client or the server to speak and says whether it
// was the client alone. An end of either side counts as its word; a reset is
// told only once by the kernel, so it is passed on from here.
func (o *opening) firstWord() (client bool, err error) {
	// Set before the server is listened to, which ends it by another.
	o.client.SetReadDeadline(time.Now().Add(o.g.cfg.Limits.TCPIdle))
	heard := make(chan error, 1)
	go func() {
		buf := make([]byte, 2048)
		n, err := o.upstream.Read(buf)
		o.answer = buf[:n]
		o.client.SetReadDeadline(longAgo())
		heard <- err
	}()
	err = o.readMore()
	o.upstream.SetReadDeadline(longAgo())
	answered := <-heard
	switch {
	case broken(err):
		return false, err
	case broken(answered):
		return false, answered
	}
	return err == nil && len(o.answer) == 0, nil
}

// longAgo is a deadline that wakes a reader.
func longAgo() time.Time { return time.Unix(1, 0) }

// broken says whether a read failed otherwise than by an end, after which the
// client may still want to listen, or a deadline.
func broken(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded)
}

// settle takes the verdict on f and makes upstream the connection for it: the
// one there is, if it goes the same way to the same place, else a new one.
func (o *opening) settle(ctx context.Context, f *flow) error {
	if len(o.answer) > 0 {
		return nil // the server has spoken: the way is taken
	}
	v, err := o.g.decide(ctx, o.plan.Policy, f)
	same := v.Outbound == o.verdict.Outbound
	o.verdict = v
	if err != nil {
		return err
	}
	host, to := o.g.target(f, v)
	if o.upstream != nil {
		if same && host == o.host {
			return nil
		}
		relay.Abort(o.upstream)
		o.upstream = nil
	}
	o.host = host
	o.upstream, err = o.g.dialTCP(ctx, o.plan, v, host, to)
	if err == nil && v.Kind != policy.Node && len(o.head) == 0 {
		acknowledge(o.upstream)
	}
	return err
}

// acknowledge sends the last segment of a handshake, which ways out leave to the
// first bytes: there are none yet, and the server may want to speak first.
func acknowledge(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	}
}

// exchangeHeads passes on what was read of either side before they were joined.
func (o *opening) exchangeHeads() (relay.Stats, error) {
	var s relay.Stats
	if len(o.head) > 0 {
		n, err := o.upstream.Write(o.head)
		s.Up = int64(n)
		if err != nil {
			return s, err
		}
	}
	o.recycle()
	if len(o.answer) > 0 {
		n, err := o.client.Write(o.answer)
		s.Down = int64(n)
		if err != nil {
			return s, err
		}
		o.answer = nil
	}
	return s, nil
}
