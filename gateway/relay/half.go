package relay

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// bufferSize is what is copied through user space at once. Less than that costs
// more to splice than to copy: a splice needs a pipe and moves twice.
const bufferSize = 16 << 10

type buffer [bufferSize]byte

// buffers lends a buffer to the half that has something to put into it. It is a
// cache of the process, like the pipes behind splice, and holds no state.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// A half copies one direction of a flow. While it waits for a socket it holds
// neither a buffer nor a pipe, so that an idle flow costs its two descriptors.
type half struct {
	dst, src net.Conn
	to, from string
	moved    *atomic.Int64

	tcp     *net.TCPConn     // dst, if both sides are TCP sockets
	raw     syscall.RawConn  // of src, if it is a TCP socket
	limited io.LimitedReader // of src, for a splice of known length

	// What the last wait on raw found.
	onRead  func(fd uintptr) bool
	onQueue func(fd uintptr) bool
	buf     *buffer
	n       int
	ended   bool  // src, behind these bytes
	err     error // that follows these bytes
	peeked  [1]byte
}

func newHalf(dst net.Conn, to string, src net.Conn, from string, moved *atomic.Int64) *half {
	h := &half{dst: dst, src: src, to: to, from: from, moved: moved, raw: rawOf(src)}
	if h.raw != nil {
		h.onRead, h.onQueue = h.tryRead, h.tryQueue
		h.limited.R = src
		h.tcp, _ = dst.(*net.TCPConn)
	}
	return h
}

// rawOf is nil where c is not a TCP socket.
func rawOf(c net.Conn) syscall.RawConn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// copy writes the head and then all that src sends, until its end.
func (h *half) copy(head []byte) error {
	if err := h.write(head); err != nil {
		return err
	}
	for !h.ended {
		if err := h.pass(); err != nil {
			return err
		}
		if h.n < bufferSize || h.tcp == nil {
			continue
		}
		if err := h.spliceWhileFast(); err != nil {
			return err
		}
	}
	return nil
}

// pass moves what src has next through a buffer.
func (h *half) pass() error {
	h.read()
	if h.n > 0 {
		err := h.write(h.buf[:h.n])
		h.dropBuffer()
		if err != nil {
			return err
		}
	}
	if h.err != nil {
		return fmt.Errorf("reading from the %s: %w", h.from, h.err)
	}
	return nil
}

// write sends b and counts what was taken of it.
func (h *half) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := h.send(b)
	h.moved.Add(int64(n))
	if err != nil {
		return fmt.Errorf("writing to the %s: %w", h.to, err)
	}
	return nil
}

// spliceWhileFast moves bytes in the kernel as long as more than a buffer of
// them is waiting, each time as many as are: a splice that asked for more would
// hold its pipe while nothing comes.
func (h *half) spliceWhileFast() error {
	for {
		queued, err := h.queued()
		if err != nil {
			return fmt.Errorf("reading from the %s: %w", h.from, err)
		}
		if queued < bufferSize {
			return nil
		}
		h.limited.N = int64(queued)
		n, err := h.tcp.ReadFrom(&h.limited)
		h.moved.Add(n)
		if err != nil {
			return fmt.Errorf("splicing from the %s to the %s: %w", h.from, h.to, err)
		}
	}
}

// read waits until src has bytes, which are then h.n in h.buf, or has come to
// what follows them: its end, or an error. Without bytes there is no h.buf.
func (h *half) read() {
	if h.raw != nil {
		if err := h.raw.Read(h.onRead); err != nil {
			h.n, h.err = 0, err
		}
		return
	}
	h.buf = buffers.Get().(*buffer)
	h.n, h.err = 0, nil
	for h.n == 0 && h.err == nil {
		h.n, h.err = h.src.Read(h.buf[:])
	}
	h.found()
}

// tryRead is called by raw until it returns true, each time src may have
// something. It takes what there is, up to what follows it: a reset is told
// once, and an end that is known can leave with the last bytes. The buffer goes
// back if there are none.
func (h *half) tryRead(fd uintptr) bool {
	h.buf = buffers.Get().(*buffer)
	h.n, h.err = 0, nil
	for h.n < bufferSize && h.err == nil {
		n, err := retry(func() (int, error) { return unix.Read(int(fd), h.buf[h.n:]) })
		if h.err = err; err == nil && n == 0 {
			h.err = io.EOF
		}
		h.n += max(n, 0)
	}
	again := h.err == unix.EAGAIN
	h.found()
	return !again || h.n > 0
}

// found sorts what a read has come to.
func (h *half) found() {
	switch h.err {
	case io.EOF:
		h.ended, h.err = true, nil
	case unix.EAGAIN:
		h.err = nil
	}
	if h.n == 0 {
		h.dropBuffer()
	}
}

func (h *half) dropBuffer() {
	buffers.Put(h.buf)
	h.buf = nil
}

// send gives b to dst and says how much of it was taken. Where the end follows,
// it is announced, so that the last bytes wait for it and leave in one segment.
func (h *half) send(b []byte) (int, error) {
	if !h.ended {
		return h.dst.Write(b)
	}
	out := rawOf(h.dst)
	if out == nil {
		return h.dst.Write(b)
	}
	sent := 0
	var failed error
	err := out.Write(func(fd uintptr) bool {
		for sent < len(b) {
			var n int
			n, failed = retry(func() (int, error) {
				return unix.SendmsgN(int(fd), b[sent:], nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			})
			if failed != nil {
				return failed != unix.EAGAIN
			}
			sent += n
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return sent, err
}

// queued waits until src has something, and says how much; zero is its end.
func (h *half) queued() (int, error) {
	if err := h.raw.Read(h.onQueue); err != nil {
		return 0, err
	}
	return h.n, h.err
}

// tryQueue is called by raw until it returns true. An empty queue is either a
// wait or the end, which only a read can tell; a reset is told once, and here.
func (h *half) tryQueue(fd uintptr) bool {
	queued, err := unix.IoctlGetUint32(int(fd), unix.SIOCINQ)
	if err == nil && queued == 0 {
		_, err = retry(func() (int, error) {
			n, _, err := unix.Recvfrom(int(fd), h.peeked[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return n, err
		})
	}
	h.n, h.err = int(queued), err
	return err != unix.EAGAIN
}

// retry calls again what a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
