package nstest

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Packet is a frame as it passed a device.
type Packet struct {
	Time     time.Time // when it was read
	Outgoing bool      // sent by this device, not received
	Frame    []byte    // from the Ethernet header on; up to 64 KiB where the kernel segments late
}

// Protocol numbers (IANA) that Segment tells.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// TCP flags (RFC 9293, section 3.1).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Segment is what an IP packet carries. Ports are 0 where there are none: other
// protocols than TCP and UDP, and later fragments.
type Segment struct {
	Proto    uint8
	Src, Dst netip.AddrPort
	Seq      uint32 // TCP only
	Flags    uint8  // TCP only
	Payload  []byte // of TCP and UDP; else all behind the IP header
}

// EtherTypes (IEEE 802 numbers).
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// Segment decodes an IPv4 or IPv6 packet; ok is false for other and for broken
// frames.
func (p Packet) Segment() (s Segment, ok bool) {
	const ethernetHeader = 14
	if len(p.Frame) < ethernetHeader {
		return Segment{}, false
	}
	body := p.Frame[ethernetHeader:]
	switch binary.BigEndian.Uint16(p.Frame[12:]) {
	case etherIPv4:
		return decode4(body)
	case etherIPv6:
		return decode6(body)
	}
	return Segment{}, false
}

// decode4 follows RFC 791, section 3.1.
func decode4(b []byte) (Segment, bool) {
	if len(b) < 20 {
		return Segment{}, false
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 { // BIG TCP: the length does not fit
		total = len(b)
	}
	if header < 20 || total < header || len(b) < total {
		return Segment{}, false
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0
	return transport(b[9], src, dst, b[header:total], first)
}

// decode6 follows RFC 8200, sections 3 and 4.
func decode6(b []byte) (Segment, bool) {
	if len(b) < 40 {
		return Segment{}, false
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	next, body, first := b[6], b[40:], true
	if length := int(binary.BigEndian.Uint16(b[4:])); length != 0 && length < len(body) {
		body = body[:length]
	}
	for {
		const hopByHop, routing, fragment, options = 0, 43, 44, 60
		var size int
		switch next {
		case hopByHop, routing, options:
			if len(body) < 8 {
				return Segment{}, false
			}
			size = 8 + 8*int(body[1])
		case fragment:
			if len(body) < 8 {
				return Segment{}, false
			}
			size, first = 8, binary.BigEndian.Uint16(body[2:])>>3 == 0
		default:
			return transport(next, src, dst, body, first)
		}
		if len(body) < size {
			return Segment{}, false
		}
		next, body = body[0], body[size:]
	}
}

func transport(proto uint8, src, dst netip.Addr, b []byte, first bool) (Segment, bool) {
	s := Segment{Proto: proto, Src: netip.AddrPortFrom(src, 0), Dst: netip.AddrPortFrom(dst, 0), Payload: b}
	if !first || proto != TCP && proto != UDP {
		return s, true
	}
	header := 8
	if proto == TCP {
		if len(b) < 20 {
			return Segment{}, false
		}
		header = int(b[12]>>4) * 4
		s.Seq, s.Flags = binary.BigEndian.Uint32(b[4:]), b[13]
	}
	if len(b) < header || header < 8 {
		return Segment{}, false
	}
	s.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
	s.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	s.Payload = b[header:]
	return s, true
}
