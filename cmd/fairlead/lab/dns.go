package lab

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
)

// Record types (IANA DNS parameters).
const (
	TypeA     = 1
	TypeNS    = 2
	TypeSOA   = 6
	TypePTR   = 12
	TypeMX    = 15
	TypeTXT   = 16
	TypeAAAA  = 28
	TypeSRV   = 33
	TypeSVCB  = 64
	TypeHTTPS = 65
)

// Response codes (IANA DNS parameters).
const (
	NoError  = 0
	ServFail = 2
	NXDomain = 3
	Refused  = 5
)

// Bits of the header's second word (RFC 1035, section 4.1.1).
const (
	flagResponse  = 1 << 15
	flagTruncated = 1 << 9
	flagRecursion = 1 << 8
	flagAvailable = 1 << 7
)

const (
	dnsHeader  = 12
	classIN    = 1
	udpPayload = 512 // what a client without EDNS takes (RFC 1035, section 4.2.1)
)

// errMessage is what a malformed message gives.
var errMessage = errors.New("malformed DNS message")

// Record is a resource record.
type Record struct {
	Name string
	Type uint16
	TTL  uint32 // seconds
	Data []byte // uncompressed only where the sender did not compress
}

// message is what the lab needs of a DNS message.
type message struct {
	id      uint16
	flags   uint16
	name    string // of the only question: lower-case, without trailing dot
	qtype   uint16
	answers []Record
}

func (m message) response() bool { return m.flags&flagResponse != 0 }
func (m message) rcode() int     { return int(m.flags & 0xf) }

// pack is the message on the wire; names are not compressed.
func (m message) pack() []byte {
	b := binary.BigEndian.AppendUint16(nil, m.id)
	for _, v := range []uint16{m.flags, 1, uint16(len(m.answers)), 0, 0} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	b = appendName(b, m.name)
	b = binary.BigEndian.AppendUint16(b, m.qtype)
	b = binary.BigEndian.AppendUint16(b, classIN)
	for _, r := range m.answers {
		b = appendName(b, r.Name)
		b = binary.BigEndian.AppendUint16(b, r.Type)
		b = binary.BigEndian.AppendUint16(b, classIN)
		b = binary.BigEndian.AppendUint32(b, r.TTL)
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.Data)))
		b = append(b, r.Data...)
	}
	return b
}

// parse reads the header, the one question and the answers; what follows is
// not looked at.
func parse(b []byte) (message, error) {
	if len(b) < dnsHeader || binary.BigEndian.Uint16(b[4:]) != 1 {
		return message{}, errMessage
	}
	m := message{id: binary.BigEndian.Uint16(b), flags: binary.BigEndian.Uint16(b[2:])}
	name, at, err := readName(b, dnsHeader)
	if err != nil || len(b) < at+4 {
		return message{}, errMessage
	}
	m.name, m.qtype = name, binary.BigEndian.Uint16(b[at:])
	at += 4
	for range binary.BigEndian.Uint16(b[6:]) {
		var r Record
		if r, at, err = readRecord(b, at); err != nil {
			return message{}, err
		}
		m.answers = append(m.answers, r)
	}
	return m, nil
}

func readRecord(b []byte, at int) (Record, int, error) {
	name, at, err := readName(b, at)
	if err != nil || len(b) < at+10 {
		return Record{}, 0, errMessage
	}
	r := Record{Name: name, Type: binary.BigEndian.Uint16(b[at:]), TTL: binary.BigEndian.Uint32(b[at+4:])}
	end := at + 10 + int(binary.BigEndian.Uint16(b[at+8:]))
	if len(b) < end {
		return Record{}, 0, errMessage
	}
	r.Data = b[at+10 : end]
	return r, end, nil
}

// readName reads a name, following pointers, and gives where it ends.
func readName(b []byte, at int) (name string, end int, err error) {
	var labels []string
	for jumps := 0; ; {
		if at >= len(b) {
			return "", 0, errMessage
		}
		length := int(b[at])
		switch {
		case length == 0:
			if end == 0 {
				end = at + 1
			}
			return strings.ToLower(strings.Join(labels, ".")), end, nil
		case length&0xc0 == 0xc0: // a pointer (RFC 1035, section 4.1.4)
			if at+1 >= len(b) || jumps == 16 {
				return "", 0, errMessage
			}
			if end == 0 {
				end = at + 2
			}
			at = (length&0x3f)<<8 | int(b[at+1])
			jumps++
		case length > 63 || at+1+length > len(b) || len(labels) == 127:
			return "", 0, errMessage
		default:
			labels = append(labels, string(b[at+1:at+1+length]))
			at += 1 + length
		}
	}
}

func appendName(b []byte, name string) []byte {
	if name != "" {
		for label := range strings.SplitSeq(name, ".") {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0)
}

// addr is the address in an A or AAAA record.
func (r Record) addr() (netip.Addr, bool) {
	if r.Type != TypeA && r.Type != TypeAAAA {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(r.Data)
}

// readFramed reads a message from a stream (RFC 1035, section 4.2.2).
func readFramed(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

func framed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}
