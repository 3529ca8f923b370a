package outbound

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSegments is how many datagrams the kernel takes at once (linux/udp.h,
// UDP_MAX_SEGMENTS, before it was doubled).
const maxSegments = 64

// maxPayload is the longest datagram of UDP over IPv4 without its headers.
const maxPayload = 65507

// A burst hands several datagrams for one peer to the kernel as one, which it
// cuts into pieces where the packet leaves (udp(7), UDP_SEGMENT; Linux 4.18).
// Most of what a datagram costs, routes, conntrack and firewall, is then paid
// once for all of them. Its zero value is ready.
type burst struct {
	impossible atomic.Bool // here the kernel cannot cut: it said so once
}

// joined lends memory for a burst while it is being sent.
var joined = sync.Pool{New: func() any { return new(datagram) }}

// write sends payloads, each behind header, to one peer, or to that which c is
// connected to if to is zero. The kernel may refuse to cut (no checksums in
// hardware, pieces longer than the path takes): then they are sent one by one.
// One that fails does not keep back those behind it; the last error is told.
func (b *burst) write(c *net.UDPConn, header []byte, payloads [][]byte, to netip.AddrPort) (failed error) {
	buf := joined.Get().(*datagram)
	defer joined.Put(buf)
	for len(payloads) > 0 {
		n := 1
		if !b.impossible.Load() {
			n = alike(payloads, len(header))
		}
		if n > 1 && b.writeJoined(c, join(buf, header, payloads[:n]), len(header)+len(payloads[0]), to) {
			payloads = payloads[n:]
			continue
		}
		for _, p := range payloads[:n] {
			if _, _, err := c.WriteMsgUDPAddrPort(join(buf, header, [][]byte{p}), nil, to); err != nil {
				failed = err
			}
		}
		payloads = payloads[n:]
	}
	return failed
}

// alike counts the payloads that can go at once: they have one length, but the
// last may be shorter.
func alike(payloads [][]byte, header int) int {
	size := header + len(payloads[0])
	total := 0
	for i, p := range payloads {
		length := header + len(p)
		if total += length; i == maxSegments || total > maxPayload || length > size || length == 0 {
			return max(i, 1)
		}
		if length < size {
			return i + 1
		}
	}
	return len(payloads)
}

func join(buf *datagram, header []byte, payloads [][]byte) []byte {
	b := buf[:0]
	for _, p := range payloads {
		b = append(append(b, header...), p...)
	}
	return b
}

// writeJoined says whether the kernel took what is to be cut into pieces of size.
func (b *burst) writeJoined(c *net.UDPConn, whole []byte, size int, to netip.AddrPort) bool {
	var room [unix.SizeofCmsghdr + 8]byte // the value is padded to a word
	oob := room[:unix.CmsgSpace(2)]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&room[0]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(room[unix.CmsgLen(0):], uint16(size))
	_, _, err := c.WriteMsgUDPAddrPort(whole, oob, to)
	if errors.Is(err, unix.EIO) {
		b.impossible.Store(true)
	}
	return err == nil
}

// A sharedSocket is a UDP socket of ours for any number of peers.
type sharedSocket struct {
	*net.UDPConn
	burst burst
}

// WriteAllTo sends each payload as one datagram to a peer.
func (s *sharedSocket) WriteAllTo(payloads [][]byte, to netip.AddrPort) error {
	return s.burst.write(s.UDPConn, nil, payloads, to)
}
