// Package ubus speaks with the daemons of OpenWrt over its bus, as libubus does:
// it calls methods, subscribes to notifications and listens for events.
package ubus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Socket is where ubusd listens (OpenWrt 21.02 and later).
const Socket = "/var/run/ubus/ubus.sock"

const (
	// eventObject is the object of ubusd itself that events are asked of
	// (UBUS_SYSTEM_OBJECT_EVENT of ubusmsg.h).
	eventObject = 1

	// writeTime bounds the sending of one message.
	writeTime = 2 * time.Second

	// maxEvents are kept for who does not fetch them. More end the connection:
	// events would be lost, and whoever lists anew after it misses nothing.
	maxEvents = 256
)

// Errors of a connection that ended by our side.
var (
	errClosed  = errors.New("the connection was closed")
	errOverrun = errors.New("more events came than were fetched")
)

// Conn is one connection to ubusd. It is safe for concurrent use.
type Conn struct {
	conn   net.Conn
	in     *bufio.Reader
	events chan Event
	ended  chan struct{} // closed when nothing more will be read, and err is set
	err    error

	writing sync.Mutex // orders whole messages

	mu    sync.Mutex // guards the fields below
	seq   uint16
	calls map[uint16]*call
	own   uint32 // the object of ours that events are sent to; 0: none yet
}

// call is a question that waits for its answer.
type call struct {
	done chan struct{} // closed when the fields below are set
	data []byte        // attributes of the first answer; nil: none came
	code Status
}

// Event is one notification or event.
type Event struct {
	Name string // empty: an object that was subscribed to is gone
	Data Value
}

// Dial connects to ubusd at the path of its socket. Close ends the connection.
func Dial(ctx context.Context, path string) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connecting to ubus: %w", err)
	}
	c := &Conn{
		conn: conn, in: bufio.NewReader(conn), events: make(chan Event, maxEvents),
		ended: make(chan struct{}), calls: make(map[uint16]*call),
	}
	if err := c.greet(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connecting to ubus at %s: %w", path, err)
	}
	go c.serve()
	return c, nil
}

// greet waits for ubusd's first message.
func (c *Conn) greet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	m, err := readMessage(c.in)
	switch {
	case !stop():
		return context.Cause(ctx)
	case err != nil:
		return err
	case m.kind != msgHello:
		return fmt.Errorf("it began with a message of type %d instead of a greeting", m.kind)
	}
	return nil
}

// Close ends the connection and waits for its end.
func (c *Conn) Close() {
	c.conn.Close()
	<-c.ended
}

// Events gives what Listen and Subscribe asked for, until the connection ends,
// when it is closed. Err says why then.
func (c *Conn) Events() <-chan Event { return c.events }

// Err is why the connection ended. It waits for the end.
func (c *Conn) Err() error {
	<-c.ended
	return c.err
}

// Call calls a method of an object and gives its answer, a table.
func (c *Conn) Call(ctx context.Context, object, method string, args Table) (Value, error) {
	id, err := c.lookup(ctx, object)
	if err == nil {
		var v Value
		if v, err = c.invoke(ctx, id, method, args); err == nil {
			return v, nil
		}
	}
	return Value{}, fmt.Errorf("calling %s of %s by ubus: %w", method, object, err)
}

// Subscribe asks for the notifications of an object. One that goes is told by an
// Event without a name; one that comes back has to be subscribed to again.
func (c *Conn) Subscribe(ctx context.Context, object string) error {
	own, err := c.ownObject(ctx)
	if err == nil {
		var target uint32
		if target, err = c.lookup(ctx, object); err == nil {
			_, err = c.request(ctx, msgSubscribe, 0, appendNumber(appendNumber(nil, attrObject, own), attrTarget, target))
		}
	}
	if err != nil {
		return fmt.Errorf("subscribing to %s by ubus: %w", object, err)
	}
	return nil
}

// Listen asks for the events of a name, or, where the pattern ends with a star,
// of all names that begin like it.
func (c *Conn) Listen(ctx context.Context, pattern string) error {
	own, err := c.ownObject(ctx)
	if err == nil {
		_, err = c.invoke(ctx, eventObject, "register", Table{}.Int("object", own).Text("pattern", pattern))
	}
	if err != nil {
		return fmt.Errorf("listening for %s by ubus: %w", pattern, err)
	}
	return nil
}

// lookup gives the id of an object. Objects of which no method may be called are
// kept from us without a word.
func (c *Conn) lookup(ctx context.Context, object string) (uint32, error) {
	attrs, err := c.request(ctx, msgLookup, 0, appendText(nil, attrPath, object))
	if err != nil {
		return 0, err
	}
	if attrs == nil {
		return 0, PermissionDenied
	}
	return find(attrs, attrObject).number(), nil
}

func (c *Conn) invoke(ctx context.Context, object uint32, method string, args Table) (Value, error) {
	attrs := appendNumber(nil, attrObject, object)
	attrs = appendText(attrs, attrMethod, method)
	attrs = appendAttr(attrs, attrData, args.b)
	answer, err := c.request(ctx, msgInvoke, object, attrs)
	return Value{kindTable, find(answer, attrData).data}, err
}

// ownObject is the object of ours that events are sent to. It has no path, so
// that nobody else finds it.
func (c *Conn) ownObject(ctx context.Context) (uint32, error) {
	c.mu.Lock()
	own := c.own
	c.mu.Unlock()
	if own != 0 {
		return own, nil
	}
	attrs, err := c.request(ctx, msgAddObject, 0, nil)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = find(attrs, attrObject).number()
	return c.own, nil
}

// request sends a message and gives the attributes of the first answer, nil if
// there was nothing but a status.
func (c *Conn) request(ctx context.Context, kind byte, peer uint32, attrs []byte) ([]byte, error) {
	seq, w := c.enter()
	defer c.leave(seq)
	if err := c.send(message{kind: kind, seq: seq, peer: peer, attrs: attrs}); err != nil {
		return nil, err
	}
	select {
	case <-w.done:
		if w.code != 0 {
			return nil, w.code
		}
		return w.data, nil
	case <-c.ended:
		return nil, c.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *Conn) enter() (uint16, *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	for c.calls[c.seq] != nil {
		c.seq++
	}
	w := &call{done: make(chan struct{})}
	c.calls[c.seq] = w
	return c.seq, w
}

func (c *Conn) leave(seq uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, seq)
}

func (c *Conn) send(m message) error {
	if len(m.attrs)+headLen > maxMessage {
		return fmt.Errorf("a message of %d octets is too long", len(m.attrs))
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := c.conn.Write(m.bytes())
	if err != nil {
		c.conn.Close() // a stream that ends within a message is of no use
	}
	return err
}

// serve reads until the connection ends.
func (c *Conn) serve() {
	defer close(c.events)
	defer close(c.ended)
	for c.err == nil {
		m, err := readMessage(c.in)
		if err == nil {
			err = c.take(m)
		}
		if errors.Is(err, net.ErrClosed) {
			err = errClosed
		}
		c.err = err
	}
	c.conn.Close()
}

// take does with a message what it is for. Others, such as that somebody
// subscribes to our own object, need nothing done.
func (c *Conn) take(m message) error {
	switch m.kind {
	case msgData, msgStatus:
		c.answer(m)
	case msgInvoke:
		if err := c.tell(Event{find(m.attrs, attrMethod).text(), Value{kindTable, find(m.attrs, attrData).data}}); err != nil {
			return err
		}
		if find(m.attrs, attrNoReply).number() == 0 {
			return c.thank(m)
		}
	case msgUnsubscribe:
		return c.tell(Event{})
	}
	return nil
}

// answer gives a message to the call that waits for it, if it still does. The
// status comes last.
func (c *Conn) answer(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.calls[m.seq]
	switch {
	case w == nil:
	case m.kind == msgStatus:
		w.code = Status(find(m.attrs, attrStatus).number())
		delete(c.calls, m.seq)
		close(w.done)
	case w.data == nil:
		w.data = m.attrs
	}
}

func (c *Conn) tell(e Event) error {
	select {
	case c.events <- e:
		return nil
	default:
		return errOverrun
	}
}

// thank tells a notifier that waits for it that its notification arrived.
func (c *Conn) thank(m message) error {
	attrs := appendNumber(nil, attrStatus, 0)
	attrs = appendNumber(attrs, attrObject, find(m.attrs, attrObject).number())
	return c.send(message{kind: msgStatus, seq: m.seq, peer: m.peer, attrs: attrs})
}
