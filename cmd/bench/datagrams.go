package main

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many datagrams one system call moves.
const batch = 32

// maxDatagram is the longest datagram of the benchmark.
const maxDatagram = 1500

// batchIO sends and receives many datagrams of a socket at once, so that the
// generator of the load is not what limits it.
type batchIO struct {
	fd    int
	hdrs  [batch]mmsghdr
	iovs  [batch]unix.Iovec
	peers [batch]unix.RawSockaddrInet4 // who sent, of a socket that is not connected
	bufs  [batch][maxDatagram]byte
}

// mmsghdr is struct mmsghdr of recvmmsg(2); the compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// newBatchIO works on a socket. One that is not connected answers whoever sent
// the datagram that was in the same buffer.
func newBatchIO(fd int, connected bool) *batchIO {
	b := &batchIO{fd: fd}
	for i := range b.hdrs {
		h := &b.hdrs[i].hdr
		b.iovs[i].Base = &b.bufs[i][0]
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		if !connected {
			h.Name = (*byte)(unsafe.Pointer(&b.peers[i]))
			h.Namelen = unix.SizeofSockaddrInet4
		}
	}
	return b
}

// received is the i-th datagram of the last receive.
func (b *batchIO) received(i int) []byte { return b.bufs[i][:b.hdrs[i].len] }

// receive takes what is there.
func (b *batchIO) receive(flags int) (int, error) {
	for i := range b.iovs {
		b.iovs[i].SetLen(maxDatagram)
	}
	return b.call(unix.SYS_RECVMMSG, 0, batch, flags)
}

// send sends the first n buffers, each of size bytes, or as many as the kernel takes.
func (b *batchIO) send(n, size int) (int, error) {
	for i := range n {
		b.iovs[i].SetLen(size)
	}
	return b.sendFrom(0, n)
}

// sendFrom sends buffers whose sizes are set already.
func (b *batchIO) sendFrom(first, end int) (int, error) {
	return b.call(unix.SYS_SENDMMSG, first, end, 0)
}

func (b *batchIO) call(trap uintptr, first, end, flags int) (int, error) {
	done, _, errno := syscall.Syscall6(trap, uintptr(b.fd),
		uintptr(unsafe.Pointer(&b.hdrs[first])), uintptr(end-first), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(done), nil
}

// udpBuffer is the receive buffer of every socket of the benchmark that takes
// datagrams, and of dnsmasq's: with the kernel's default a burst is lost that
// fairlead, which asks for as much, would take.
const udpBuffer = 1 << 20

// udpSocket opens a blocking IPv4 socket.
func udpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, setReceiveBuffer(fd, udpBuffer)
}

// setReceiveBuffer goes beyond net.core.rmem_max if it may.
func setReceiveBuffer(fd, size int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
}

// connectedUDP opens a socket that talks to one address.
func connectedUDP(to netip.AddrPort) (int, error) {
	fd, err := udpSocket()
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// boundUDP opens a socket on an address.
func boundUDP(at netip.AddrPort) (int, error) {
	fd, err := udpSocket()
	if err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}
