package leaks

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// TCP flags (RFC 9293, section 3.1).
const flagSYN = 0x02

// packet is one that left, from its IP header on, as far as it was captured.
type packet struct {
	Flow
	seq uint32 // TCP only
	syn bool   // TCP only
}

// decode reads an IPv4 or IPv6 packet of TCP or UDP that may be cut anywhere. ok
// is false for others, and for fragments behind the first, which have no ports.
func decode(b []byte, at time.Time) (p packet, ok bool) {
	p.Time = at
	if len(b) == 0 {
		return p, false
	}
	switch b[0] >> 4 {
	case 4:
		return p.decode4(b)
	case 6:
		return p.decode6(b)
	}
	return p, false
}

// decode4 follows RFC 791, section 3.1.
func (p packet) decode4(b []byte) (packet, bool) {
	if len(b) < 20 {
		return p, false
	}
	header := int(b[0]&0xf) * 4
	if header < 20 || len(b) < header || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return p, false
	}
	if total := int(binary.BigEndian.Uint16(b[2:])); total >= header && total < len(b) {
		b = b[:total] // what follows is the link's
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	return p.transport(b[9], src, dst, b[header:])
}

// decode6 follows RFC 8200, sections 3 and 4.
func (p packet) decode6(b []byte) (packet, bool) {
	if len(b) < 40 {
		return p, false
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	next, body := b[6], b[40:]
	if length := int(binary.BigEndian.Uint16(b[4:])); length != 0 && length < len(body) {
		body = body[:length]
	}
	for {
		if !isExtension(next) {
			return p.transport(next, src, dst, body)
		}
		if len(body) < 8 {
			return p, false
		}
		size := 8
		switch {
		case next != fragment:
			size += 8 * int(body[1])
		case binary.BigEndian.Uint16(body[2:])>>3 != 0:
			return p, false
		}
		if len(body) < size {
			return p, false
		}
		next, body = body[0], body[size:]
	}
}

// Extension headers of IPv6 that may stand before the transport (RFC 8200).
const (
	hopByHop = 0
	routing  = 43
	fragment = 44
	options  = 60
	icmpv6   = 58 // no extension: what most often stands behind one
)

func isExtension(next uint8) bool {
	return next == hopByHop || next == routing || next == fragment || next == options
}

func (p packet) transport(proto uint8, src, dst netip.Addr, b []byte) (packet, bool) {
	header := 8
	switch {
	case proto == UDP && len(b) >= header:
	case proto == TCP && len(b) >= 20:
		header = int(b[12]>>4) * 4
		p.seq, p.syn = binary.BigEndian.Uint32(b[4:]), b[13]&flagSYN != 0
	default:
		return p, false
	}
	if header < 8 || len(b) < header {
		return p, false
	}
	p.Proto = proto
	p.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
	p.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	p.Data = b[header:]
	return p, true
}
