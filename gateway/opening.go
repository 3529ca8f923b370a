package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

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
	patience = 5 * time.Second
)

// opening is a connection from its accept until both ends are joined.
type opening struct {
	g        *Gateway
	plan     *Plan
	flow     *flow
	client   *net.TCPConn
	upstream net.Conn       // nil until dialled
	verdict  policy.Verdict // of what upstream was dialled for
	head     []byte         // read from the client already
	answer   []byte         // read from upstream already
	buf      *[]byte        // head's memory
}

// headBuffers hold what is read of a client before its way is known. They go
// back before the relaying begins, so that a long connection costs none.
var headBuffers = sync.Pool{New: func() any { b := make([]byte, sniff.MaxStream); return &b }}

func (o *opening) close() {
	if o.upstream != nil {
		o.upstream.Close()
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
	o.buf = headBuffers.Get().(*[]byte)
	err := o.read(time.Now().Add(silence))
	spoke := err == nil
	if errors.Is(err, os.ErrDeadlineExceeded) {
		spoke, err = o.wait(ctx)
	}
	if spoke {
		o.hear()
	}
	if errors.Is(err, io.EOF) {
		err = nil // the client only wants to listen
	}
	if err != nil {
		return err
	}
	return o.client.SetReadDeadline(time.Time{})
}

// read takes one piece from the client.
func (o *opening) read(deadline time.Time) error {
	if err := o.client.SetReadDeadline(deadline); err != nil {
		return err
	}
	n, err := o.client.Read((*o.buf)[len(o.head):])
	o.head = (*o.buf)[:len(o.head)+n]
	if n > 0 {
		return nil
	}
	return err
}

// hear sniffs what the client says until that is told, or takes too long. What
// cannot be told is left to its address.
func (o *opening) hear() {
	deadline := time.Now().Add(hesitation)
	result, err := sniff.Stream(o.head)
	for errors.Is(err, sniff.ErrMore) && len(o.head) < len(*o.buf) {
		if o.read(deadline) != nil {
			break
		}
		result, err = sniff.Stream(o.head)
	}
	if err != nil {
		result = sniff.Result{}
	}
	o.g.learn(o.plan.Policy, o.flow, result)
}

// wait dials for a silent client by its address and waits for whoever speaks
// first. It says whether that was the client. If the address alone leads
// nowhere, the client's words are waited for: a name could still save it.
func (o *opening) wait(ctx context.Context) (clientSpoke bool, err error) {
	began := time.Now()
	silent := *o.flow
	o.g.learn(o.plan.Policy, &silent, sniff.Result{})
	o.verdict, err = o.g.decide(ctx, o.plan.Policy, &silent)
	if err == nil {
		o.upstream, err = o.g.dialTCP(ctx, o.plan, &silent, o.verdict)
	}
	if err != nil {
		heard := o.read(began.Add(patience))
		if heard == nil {
			return true, nil
		}
		return false, err
	}
	if o.firstWord() {
		return true, nil
	}
	*o.flow = silent
	return false, nil
}

// firstWord waits for the client or the server to speak and says whether it
// was the client. An end of either side counts as its word.
func (o *opening) firstWord() (client bool) {
	heard := make(chan struct{})
	buf := make([]byte, 2048)
	go func() {
		defer close(heard)
		n, _ := o.upstream.Read(buf)
		o.answer = buf[:n]
		o.client.SetReadDeadline(time.Unix(1, 0)) // wake the reader below
	}()
	err := o.read(time.Now().Add(o.g.cfg.Limits.TCPIdle))
	o.upstream.SetReadDeadline(time.Unix(1, 0))
	<-heard
	o.upstream.SetReadDeadline(time.Time{})
	o.client.SetReadDeadline(time.Time{})
	return err == nil && len(o.answer) == 0
}

// settle takes the final verdict and makes upstream the connection for it: the
// one dialled while the client was silent, if it is the same way to the same
// place, else a new one.
func (o *opening) settle(ctx context.Context) error {
	if len(o.answer) > 0 {
		return nil // the server has spoken: the way is taken
	}
	v, err := o.g.decide(ctx, o.plan.Policy, o.flow)
	if err != nil {
		o.verdict = v
		return err
	}
	if o.upstream != nil {
		if host, _ := o.g.target(o.flow, v); v.Outbound == o.verdict.Outbound && host == "" {
			o.verdict = v
			return nil
		}
		relay.Abort(o.upstream)
		o.upstream = nil
	}
	o.verdict = v
	o.upstream, err = o.g.dialTCP(ctx, o.plan, o.flow, v)
	return err
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
