package tproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many datagrams one recvmmsg(2) may bring. Beyond eight the
	// gain on small cores was no longer measurable.
	batch = 16
	// maxDatagram holds what a link of any usual MTU carries, and fragments
	// put together up to twice that. Longer ones are dropped: no client of a
	// home network sends them through a gateway.
	maxDatagram = 4096
	// receiveBuffer keeps a burst of a hundred datagrams and more from being
	// lost while the reader is busy. The kernel doubles and caps it.
	receiveBuffer = 1 << 20
	// oobSize has room for one original-destination control message.
	oobSize = 64
)

// UDPListener receives diverted datagrams. It has one reader.
type UDPListener struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	in   *inbox
	next int // in.got[next:n] are read but not yet handed out
	n    int
}

// inbox is the memory that recvmmsg(2) writes to.
type inbox struct {
	hdrs  [batch]mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]unix.RawSockaddrInet6
	oobs  [batch][oobSize]byte
	bufs  [batch][maxDatagram]byte
}

// mmsghdr is struct mmsghdr of recvmmsg(2); the compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// ListenUDP opens a transparent listener on addr, a loopback address.
func ListenUDP(ctx context.Context, addr netip.AddrPort) (*UDPListener, error) {
	lc := net.ListenConfig{Control: control(addr.Addr(), transparentUDP)}
	c, err := lc.ListenPacket(ctx, network("udp", addr.Addr()), addr.String())
	if err != nil {
		return nil, fmt.Errorf("opening transparent listener udp %s: %w", addr, err)
	}
	conn := c.(*net.UDPConn)
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening transparent listener udp %s: %w", addr, err)
	}
	return &UDPListener{conn: conn, raw: raw, in: newInbox()}, nil
}

func newInbox() *inbox {
	in := new(inbox)
	for i := range in.hdrs {
		in.iovs[i].Base = &in.bufs[i][0]
		in.iovs[i].SetLen(maxDatagram)
		h := &in.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		h.Control = &in.oobs[i][0]
	}
	return in
}

func transparentUDP(fd int, v6 bool) error {
	if err := transparent(fd, v6); err != nil {
		return err
	}
	// Beyond net.core.rmem_max only a privileged process may go; less is fine.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	level, name := unix.SOL_IP, unix.IP_RECVORIGDSTADDR
	if v6 {
		level, name = unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR
	}
	if err := unix.SetsockoptInt(fd, level, name, 1); err != nil {
		return fmt.Errorf("setting IP_RECVORIGDSTADDR: %w", err)
	}
	return nil
}

// Read gives the next datagram, who sent it, and the address it was sent to.
// The payload is valid until the next Read. The zone of a link-local client is
// the index of its interface. After Close the error is net.ErrClosed.
func (l *UDPListener) Read() (payload []byte, client, dialled netip.AddrPort, err error) {
	for {
		if l.next == l.n {
			if err := l.fill(); err != nil {
				return nil, client, dialled, err
			}
		}
		payload, client, dialled, ok := l.arrived(l.next)
		l.next++
		if ok {
			return payload, client, dialled, nil
		}
	}
}

// ReadRun is Read for one datagram or more that arrived in a row from one
// client for one address. It appends them to run.
func (l *UDPListener) ReadRun(run [][]byte) (payloads [][]byte, client, dialled netip.AddrPort, err error) {
	first, client, dialled, err := l.Read()
	if err != nil {
		return nil, client, dialled, err
	}
	run = append(run, first)
	for ; l.next < l.n; l.next++ {
		payload, c, d, ok := l.arrived(l.next)
		if !ok || c != client || d != dialled {
			break
		}
		run = append(run, payload)
	}
	return run, client, dialled, nil
}

// arrived is the i-th datagram of the last fill. It is not ok if it was cut
// off, or not diverted: then there is nothing that we could answer from.
func (l *UDPListener) arrived(i int) (payload []byte, client, dialled netip.AddrPort, ok bool) {
	m := &l.in.hdrs[i]
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return nil, client, dialled, false
	}
	dialled, err := OriginalDst(l.in.oobs[i][:m.hdr.Controllen])
	return l.in.bufs[i][:m.len], sockaddr(&l.in.names[i]), dialled, err == nil
}

// fill waits for datagrams and reads as many as there are. The call itself does
// not wait, and is a raw one: of those that the scheduler knows of the first one
// after a pause wakes its monitor thread, which at 2,000 questions a second took
// as much time as the questions.
func (l *UDPListener) fill() error {
	for i := range l.in.hdrs {
		h := &l.in.hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(oobSize)
		h.Flags = 0
	}
	var n uintptr
	var errno syscall.Errno
	err := l.raw.Read(func(fd uintptr) bool {
		n, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&l.in.hdrs[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		return errno != unix.EAGAIN && errno != unix.EINTR
	})
	switch {
	case err != nil:
		return err
	case errno != 0:
		return fmt.Errorf("receiving diverted datagrams: %w", errno)
	}
	l.next, l.n = 0, int(n)
	return nil
}

// Close ends Read.
func (l *UDPListener) Close() error { return l.conn.Close() }

// errNoOriginalDst says that a control message holds no original destination.
var errNoOriginalDst = errors.New("no original destination in the control message")

// OriginalDst reads the destination that a diverted datagram was sent to from
// its control messages (IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR).
func OriginalDst(oob []byte) (netip.AddrPort, error) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("reading a control message: %w", err)
		}
		// struct sockaddr_in and sockaddr_in6: family, port in network order,
		// then the address (behind four bytes of flow label for IPv6).
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_ORIGDSTADDR && len(data) >= 8:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[4:8])), port(data)), nil
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_ORIGDSTADDR && len(data) >= 24:
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(data[8:24])).Unmap(), port(data)), nil
		}
		oob = rest
	}
	return netip.AddrPort{}, errNoOriginalDst
}

func port(sockaddr []byte) uint16 { return uint16(sockaddr[2])<<8 | uint16(sockaddr[3]) }

// sockaddr reads what the kernel wrote as a name: sockaddr_in or sockaddr_in6.
func sockaddr(sa *unix.RawSockaddrInet6) netip.AddrPort {
	if sa.Family == unix.AF_INET {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), ntohs(sa4.Port))
	}
	addr := netip.AddrFrom16(sa.Addr).Unmap()
	if addr.IsLinkLocalUnicast() && sa.Scope_id != 0 {
		addr = addr.WithZone(strconv.Itoa(int(sa.Scope_id)))
	}
	return netip.AddrPortFrom(addr, ntohs(sa.Port))
}

// ntohs reads a port that lies in memory in network order.
func ntohs(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}
