package tproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sender answers clients from addresses that are not ours. It writes whole IP
// packets through raw sockets, so nothing stays bound: a socket bound to a
// foreign address with SO_MARK would mark the client's own conntrack entry, and
// one bound to an address of the router would take questions away from dnsmasq
// while the daemon hangs. Its packets carry no mark.
type Sender struct {
	fd4, fd6 int // fd6 is -1 without IPv6
	bufs     sync.Pool
}

// IP header sizes without options (RFC 791, RFC 8200) and of UDP (RFC 768).
const (
	ip4Header = 20
	ip6Header = 40
	udpHeader = 8
	hopLimit  = 64
)

// NewSender opens the raw sockets. It needs CAP_NET_RAW.
func NewSender() (*Sender, error) {
	fd4, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("opening a raw socket (it needs CAP_NET_RAW): %w", err)
	}
	fd6, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		if !errors.Is(err, unix.EAFNOSUPPORT) {
			unix.Close(fd4)
			return nil, fmt.Errorf("opening a raw IPv6 socket: %w", err)
		}
		fd6 = -1
	}
	s := &Sender{fd4: fd4, fd6: fd6}
	s.bufs.New = func() any { return new([maxDatagram + ip6Header + udpHeader]byte) }
	return s, nil
}

// Close closes the sockets. No Send may be under way.
func (s *Sender) Close() error {
	if s.fd6 >= 0 {
		unix.Close(s.fd6)
	}
	return unix.Close(s.fd4)
}

// Send sends payload as a datagram from one address to another of the same
// family. The zone of to, if any, is the index of its interface. A packet
// larger than the link's MTU goes through a socket bound for that one packet,
// because the kernel fragments only what it built itself.
func (s *Sender) Send(payload []byte, from, to netip.AddrPort) error {
	if len(payload) > maxDatagram {
		return s.sendBound(payload, from, to)
	}
	buf := s.bufs.Get().(*[maxDatagram + ip6Header + udpHeader]byte)
	defer s.bufs.Put(buf)
	head := ip4Header
	if to.Addr().Is6() {
		head = ip6Header
	}
	length := udpHeader + len(payload)
	packet := buf[:head+length]
	copy(packet[head+udpHeader:], payload)
	putUDP(packet[head:], from, to)
	putIP(packet, unix.IPPROTO_UDP, from.Addr(), to.Addr())
	err := s.sendRaw(packet, to.Addr())
	if errors.Is(err, unix.EMSGSIZE) {
		return s.sendBound(payload, from, to)
	}
	if err != nil {
		return fmt.Errorf("answering %s from %s: %w", to, from, err)
	}
	return nil
}

// Unreachable tells client that nothing answers at dialled: port unreachable,
// ICMP type 3 code 3 (RFC 792) or ICMPv6 type 1 code 4 (RFC 4443). Its packet
// is the least that a client needs to find the socket it is for.
func (s *Sender) Unreachable(client, dialled netip.AddrPort) error {
	v6 := client.Addr().Is6()
	head, kind, code, proto := ip4Header, byte(3), byte(3), byte(unix.IPPROTO_ICMP)
	if v6 {
		head, kind, code, proto = ip6Header, 1, 4, unix.IPPROTO_ICMPV6
	}
	packet := make([]byte, head+8+head+udpHeader)
	quoted := packet[head+8:]
	putUDP(quoted[head:], client, dialled)
	putIP(quoted, unix.IPPROTO_UDP, client.Addr(), dialled.Addr())
	icmp := packet[head:]
	icmp[0], icmp[1] = kind, code
	sum := uint32(0)
	if v6 {
		sum = pseudo(dialled.Addr(), client.Addr(), proto, len(icmp))
	}
	binary.BigEndian.PutUint16(icmp[2:], fold(checksum(sum, icmp)))
	putIP(packet, proto, dialled.Addr(), client.Addr())
	if err := s.sendRaw(packet, client.Addr()); err != nil {
		return fmt.Errorf("refusing %s its flow to %s: %w", client, dialled, err)
	}
	return nil
}

// putIP writes the header in front of the payload that packet already holds.
func putIP(packet []byte, proto byte, from, to netip.Addr) {
	if to.Is6() {
		clear(packet[:ip6Header])
		packet[0] = 6 << 4
		binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-ip6Header))
		packet[6], packet[7] = proto, hopLimit
		src, dst := from.As16(), to.As16()
		copy(packet[8:], src[:])
		copy(packet[24:], dst[:])
		return
	}
	clear(packet[:ip4Header])
	packet[0] = 4<<4 | ip4Header/4
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	packet[8], packet[9] = hopLimit, proto
	src, dst := from.As4(), to.As4()
	copy(packet[12:], src[:])
	copy(packet[16:], dst[:])
	binary.BigEndian.PutUint16(packet[10:], fold(checksum(0, packet[:ip4Header])))
}

// putUDP writes the header of a datagram whose payload is in place.
func putUDP(d []byte, from, to netip.AddrPort) {
	binary.BigEndian.PutUint16(d[0:], from.Port())
	binary.BigEndian.PutUint16(d[2:], to.Port())
	binary.BigEndian.PutUint16(d[4:], uint16(len(d)))
	d[6], d[7] = 0, 0
	sum := fold(checksum(pseudo(from.Addr(), to.Addr(), unix.IPPROTO_UDP, len(d)), d))
	if sum == 0 {
		sum = 0xffff // zero would say "no checksum"
	}
	binary.BigEndian.PutUint16(d[6:], sum)
}

// pseudo is the sum of the pseudo header (RFC 768, RFC 8200 section 8.1).
func pseudo(from, to netip.Addr, proto byte, length int) uint32 {
	sum := uint32(proto) + uint32(length)
	if to.Is6() {
		src, dst := from.As16(), to.As16()
		return checksum(checksum(sum, src[:]), dst[:])
	}
	src, dst := from.As4(), to.As4()
	return checksum(checksum(sum, src[:]), dst[:])
}

// checksum adds b to a sum of 16-bit words (RFC 1071). Packets are far too
// short to overflow 32 bits.
func checksum(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// sendRaw never blocks: a full queue loses the packet, as any router would. So
// the scheduler need not know of the call; see UDPListener.fill.
func (s *Sender) sendRaw(packet []byte, to netip.Addr) error {
	var errno syscall.Errno
	if to.Is6() {
		if s.fd6 < 0 {
			return unix.EAFNOSUPPORT
		}
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.As16(), Scope_id: scope(to)}
		_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd6), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet6)
	} else {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.As4()}
		_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd4), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

func scope(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0 // ParseUint would allocate its error
	}
	index, _ := strconv.ParseUint(a.Zone(), 10, 32)
	return uint32(index)
}

// sendBound sends through a transparent socket that is bound to from for this
// one packet.
func (s *Sender) sendBound(payload []byte, from, to netip.AddrPort) error {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("answering %s from %s: %w", to, from, err)
	}
	defer unix.Close(fd)
	if err := transparent(fd, to.Addr().Is6()); err != nil {
		return fmt.Errorf("answering %s from %s: %w", to, from, err)
	}
	if err := unix.Bind(fd, unixSockaddr(from)); err != nil {
		return fmt.Errorf("answering %s: binding to %s: %w", to, from, err)
	}
	if err := unix.Sendto(fd, payload, unix.MSG_DONTWAIT, unixSockaddr(to)); err != nil {
		return fmt.Errorf("answering %s from %s: %w", to, from, err)
	}
	return nil
}

func unixSockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: scope(a.Addr())}
}
