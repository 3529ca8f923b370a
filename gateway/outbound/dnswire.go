package outbound

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// What RFC 1035 section 4 and RFC 3596 put on the wire.
const (
	dnsHeader = 12
	dnsA      = 1
	dnsAAAA   = 28
	dnsIN     = 1

	flagAnswer    = 1 << 15
	maskOpcode    = 0xf << 11
	flagRecursion = 1 << 8
	maskCode      = 0xf
	codeNone      = 0
	codeNoName    = 3 // NXDOMAIN

	maxLabel   = 63
	maxName    = 253 // as text
	maxMessage = 4096
)

var (
	errNotOurs   = errors.New("the answer is for another question")
	errMalformed = errors.New("the answer is malformed")
	errNoSuch    = errors.New("there is no such name")
)

// buildQuery returns the question for host's records of one type.
func buildQuery(id uint16, host string, kind uint16) ([]byte, error) {
	if host == "" || len(host) > maxName {
		return nil, fmt.Errorf("a host name must have 1 to %d bytes", maxName)
	}
	b := make([]byte, 0, dnsHeader+len(host)+6)
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, flagRecursion)
	b = append(b, 0, 1, 0, 0, 0, 0, 0, 0)
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > maxLabel {
			return nil, fmt.Errorf("a label must have 1 to %d bytes", maxLabel)
		}
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, kind)
	return binary.BigEndian.AppendUint16(b, dnsIN), nil
}

// parseAnswer gives the addresses of kind in the answer to query, and how long
// they may be kept. errNotOurs means that the answer is to be ignored.
func parseAnswer(query, answer []byte, kind uint16) ([]netip.Addr, time.Duration, error) {
	question := query[dnsHeader:]
	if len(answer) < len(query) {
		return nil, 0, errNotOurs
	}
	field := func(n int) uint16 { return binary.BigEndian.Uint16(answer[2*n:]) }
	id, flags, questions, answers := field(0), field(1), field(2), field(3)
	if id != binary.BigEndian.Uint16(query) || flags&flagAnswer == 0 || flags&maskOpcode != 0 || questions != 1 {
		return nil, 0, errNotOurs
	}
	echoed := answer[dnsHeader : dnsHeader+len(question)]
	if !strings.EqualFold(string(echoed), string(question)) {
		return nil, 0, errNotOurs
	}
	switch code := flags & maskCode; code {
	case codeNone:
	case codeNoName:
		return nil, 0, errNoSuch
	default:
		return nil, 0, fmt.Errorf("the server answers with code %d", code)
	}
	return parseRecords(answer, len(query), int(answers), kind)
}

// parseRecords collects the addresses of kind among count records at offset.
// Records of other types and owners, such as those of an alias, only bound the
// time.
func parseRecords(b []byte, offset, count int, kind uint16) ([]netip.Addr, time.Duration, error) {
	var addrs []netip.Addr
	ttl := maxKept
	for range count {
		offset = skipName(b, offset)
		if offset < 0 || offset+10 > len(b) {
			return nil, 0, errMalformed
		}
		fixed := b[offset : offset+10]
		start := offset + 10
		offset = start + int(binary.BigEndian.Uint16(fixed[8:]))
		if offset > len(b) {
			return nil, 0, errMalformed
		}
		ttl = min(ttl, time.Duration(binary.BigEndian.Uint32(fixed[4:]))*time.Second)
		if binary.BigEndian.Uint16(fixed) != kind || binary.BigEndian.Uint16(fixed[2:]) != dnsIN {
			continue
		}
		addr, ok := netip.AddrFromSlice(b[start:offset])
		if !ok || addr.Is4() != (kind == dnsA) {
			return nil, 0, errMalformed
		}
		addrs = append(addrs, addr.Unmap())
	}
	return addrs, max(ttl, minKept), nil
}

// skipName returns the offset behind the name at offset, or -1. A pointer ends
// a name, and is not followed.
func skipName(b []byte, offset int) int {
	for offset < len(b) {
		switch n := int(b[offset]); {
		case n == 0:
			return offset + 1
		case n >= 0xc0:
			return offset + 2
		case n > maxLabel:
			return -1
		default:
			offset += 1 + n
		}
	}
	return -1
}
