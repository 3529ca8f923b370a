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
	err     error
	peeked  [1]byte
}

func newHalf(dst net.Conn, to string, src net.Conn, from string, moved *atomic.Int64) *half {
	h := &half{dst: dst, src: src, to: to, from: from, moved: moved}
	s, ok := src.(*net.TCPConn)
	if !ok {
		return h
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return h
	}
	h.raw = raw
	h.onRead, h.onQueue = h.tryRead, h.tryQueue
	h.limited.R = s
	h.tcp, _ = dst.(*net.TCPConn)
	return h
}

// copy writes the head and then all that src sends, until its end.
func (h *half) copy(head []byte) error {
	if err := h.write(head); err != nil {
		return err
	}
	for {
		n, err := h.pass()
		if err != nil || n == 0 {
			return err
		}
		if n < bufferSize || h.tcp == nil {
			continue
		}
		if err := h.spliceWhileFast(); err != nil {
			return err
		}
	}
}

// pass moves what src has next through a buffer. Zero bytes are its end.
func (h *half) pass() (int, error) {
	if err := h.read(); err != nil {
		return 0, fmt.Errorf("reading from the %s: %w", h.from, err)
	}
	n := h.n
	err := h.write(h.buf[:n])
	h.dropBuffer()
	return n, err
}

// write sends b and counts what was taken of it.
func (h *half) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := h.dst.Write(b)
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

// read fills h.buf with h.n bytes of src; none are its end. There is no h.buf
// after an error.
func (h *half) read() error {
	if h.raw != nil {
		if err := h.raw.Read(h.onRead); err != nil {
			return err
		}
		return h.err
	}
	h.buf = buffers.Get().(*buffer)
	h.n, h.err = 0, nil
	for h.n == 0 && h.err == nil {
		h.n, h.err = h.src.Read(h.buf[:])
	}
	if h.n > 0 || h.err == io.EOF {
		return nil // an error beside bytes comes again with the next read
	}
	h.dropBuffer()
	return h.err
}

// tryRead is called by raw until it returns true, each time src may have
// something. The buffer goes back if it has not.
func (h *half) tryRead(fd uintptr) bool {
	h.buf = buffers.Get().(*buffer)
	h.n, h.err = retry(func() (int, error) { return unix.Read(int(fd), h.buf[:]) })
	if h.err != nil {
		h.dropBuffer()
	}
	return h.err != unix.EAGAIN
}

func (h *half) dropBuffer() {
	buffers.Put(h.buf)
	h.buf = nil
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
