package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Lent is a UDP socket for one question and its answer. Whoever has it alone,
// and leaves nothing unread, may give it back in place of closing it. It is an
// alias, so that others can declare the same without importing this package.
type Lent = interface {
	net.Conn
	GiveBack()
}

// maxIdle is how many sockets of a family wait for a next question, if that is
// less than one in idleShare of the descriptors that this process may have. More
// are closed after their answers. To ask a hundred names at once, as the load of a
// page does, costs a third more with 16 of them.
const (
	maxIdle   = 128
	idleShare = 32
)

// idle are sockets that were given back, by family.
type idle struct{ v4, v6 shelf }

func newIdle() *idle {
	var files unix.Rlimit
	most := 1
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		most = int(min(files.Cur/idleShare, maxIdle))
	}
	return &idle{shelf{most: most}, shelf{most: most}}
}

// of gives the shelf for a peer; nil: there is none for peers of one link.
func (i *idle) of(to netip.Addr) *shelf {
	switch {
	case to.Is4():
		return &i.v4
	case to.Zone() == "":
		return &i.v6
	}
	return nil
}

// shelf keeps sockets that nobody has; the last given back is the first lent.
type shelf struct {
	most int

	mu      sync.Mutex // guards sockets
	sockets []*lent
}

// take gives nil where none is left.
func (s *shelf) take() *lent {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sockets) == 0 {
		return nil
	}
	last := len(s.sockets) - 1
	l := s.sockets[last]
	s.sockets = s.sockets[:last]
	return l
}

// put says no where there are enough.
func (s *shelf) put(l *lent) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sockets) >= s.most {
		return false
	}
	s.sockets = append(s.sockets, l)
	return true
}

// LendUDP is DialUDP to an address, from a new random port of the kernel's choice,
// with a socket that may have been given back: to make one takes longer than to
// ask and to hear by it. A deadline of whoever had it may still be set.
func (d *Direct) LendUDP(ctx context.Context, to netip.AddrPort) (Lent, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	shelf := d.idle.of(to.Addr())
	if shelf != nil {
		if l := shelf.take(); l != nil {
			if err := l.connect(to); err == nil {
				return l, nil
			}
			l.Close() // a new one says what is wrong
		}
	}
	c, err := d.sockets.dialUDP(ctx, to)
	if err != nil {
		return nil, err
	}
	return newLent(c.(*net.UDPConn), to, d.sockets, shelf)
}

// lent is a socket that can be lent again. One goroutine uses it at a time; any may
// close it.
type lent struct {
	*net.UDPConn // which knows of its first peer only
	raw          syscall.RawConn
	to           netip.AddrPort // its peer
	sockets      sockets
	shelf        *shelf // nil: it is not lent again

	// What is done with the descriptor. The functions are kept, because to make
	// one at each use would allocate it.
	reach, send, release func(fd uintptr)
	receive              func(fd uintptr) (done bool)
	in, out              []byte // for receive and send
	n                    int    // octets of either
	err                  error  // of any
}

func newLent(c *net.UDPConn, to netip.AddrPort, s sockets, on *shelf) (*lent, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		c.Close()
		return nil, err
	}
	l := &lent{UDPConn: c, raw: raw, to: to, sockets: s, shelf: on}
	l.reach, l.send, l.receive, l.release = l.reaching, l.sending, l.receiving, l.releasing
	return l, nil
}

// Read waits for a datagram.
func (l *lent) Read(b []byte) (int, error) {
	l.in = b
	return l.outcome("read", l.raw.Read(l.receive))
}

// Write sends a datagram.
func (l *lent) Write(b []byte) (int, error) {
	l.out = b
	return l.outcome("write", l.raw.Control(l.send))
}

// outcome is that of the last Read or Write, with an error that names the peer.
func (l *lent) outcome(what string, err error) (int, error) {
	l.in, l.out = nil, nil
	if err == nil {
		err = l.err
	}
	if err == nil {
		return l.n, nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return 0, &net.OpError{Op: what, Net: "udp", Addr: l.RemoteAddr(), Err: err}
}

// LocalAddr asks the kernel, by a raw call as well: `leak_monitor` wants to know it
// of each question.
func (l *lent) LocalAddr() net.Addr {
	var at netip.AddrPort
	l.raw.Control(func(fd uintptr) {
		var sa unix.RawSockaddrInet6 // has room for one of IPv4
		size := uint32(unsafe.Sizeof(sa))
		unix.RawSyscall(unix.SYS_GETSOCKNAME, fd, uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
		switch sa.Family {
		case unix.AF_INET:
			sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
			at = netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), htons(sa4.Port))
		case unix.AF_INET6:
			at = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), htons(sa.Port))
		}
	})
	return net.UDPAddrFromAddrPort(at)
}

// RemoteAddr is that of the peer.
func (l *lent) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(l.to) }

// GiveBack takes the peer and the port away from the socket, and lends it again.
// One in which something came meanwhile is closed.
func (l *lent) GiveBack() {
	if l.shelf == nil || l.raw.Control(l.release) != nil || l.err != nil || !l.shelf.put(l) {
		l.Close()
	}
}

func (l *lent) connect(to netip.AddrPort) error {
	l.to = to
	if err := l.raw.Control(l.reach); err != nil {
		return err
	}
	return l.err
}

// reaching connects the socket. A device has to be set each time, since the
// kernel forgets it with the peer.
func (l *lent) reaching(fd uintptr) {
	l.err = nil
	if l.sockets.device != "" {
		if l.err = unix.BindToDevice(int(fd), l.sockets.device); l.err != nil {
			return
		}
	}
	if l.to.Addr().Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: htons(l.to.Port()), Addr: l.to.Addr().As4()}
		l.err = connect(fd, unsafe.Pointer(&sa), unix.SizeofSockaddrInet4)
		return
	}
	sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: htons(l.to.Port()), Addr: l.to.Addr().As16()}
	l.err = connect(fd, unsafe.Pointer(&sa), unix.SizeofSockaddrInet6)
}

// sending and receiving do what write(2) and read(2) of net do, as raw calls: they
// do not block, and to have the scheduler look for other work meanwhile costs more
// than it finds, when half of a question is such calls.
func (l *lent) sending(fd uintptr) {
	l.n, l.err = socketCall(unix.SYS_SENDTO, fd, l.out)
}

func (l *lent) receiving(fd uintptr) (done bool) {
	l.n, l.err = socketCall(unix.SYS_RECVFROM, fd, l.in)
	return l.err != unix.EAGAIN
}

// socketCall is sendto(2) or recvfrom(2) of the peer, without waiting.
func socketCall(call, fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// releasing dissolves the association: connect(2) to AF_UNSPEC, by which the
// kernel gives up a port that it chose itself (__udp_disconnect). What had come
// before would be read as an answer to the next question.
func (l *lent) releasing(fd uintptr) {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if l.err = connect(fd, unsafe.Pointer(&sa), unix.SizeofSockaddrInet4); l.err != nil {
		return
	}
	if _, err := socketCall(unix.SYS_RECVFROM, fd, nil); err != unix.EAGAIN {
		l.err = fmt.Errorf("something is left in the socket (%v)", err)
	}
}

func connect(fd uintptr, sa unsafe.Pointer, size uintptr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(sa), size)
	if errno != 0 {
		return errno
	}
	return nil
}

// htons writes a port as it lies in memory in network order, and reads it.
func htons(p uint16) (in uint16) {
	b := (*[2]byte)(unsafe.Pointer(&in))
	b[0], b[1] = byte(p>>8), byte(p)
	return in
}
