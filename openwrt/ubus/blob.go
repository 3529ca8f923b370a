package ubus

import (
	"bytes"
	"encoding/binary"
)

// An attribute begins with a word that holds, from its highest bit on, whether
// it has a name (1 bit), its id (7) and its length with this word (24). It ends
// at a multiple of four octets, which the length does not say. All numbers are
// big endian on every host (blob.h of libubox).
const (
	headLen    = 4
	named      = 1 << 31
	idShift    = 24
	idMask     = 0x7f
	lengthMask = 1<<24 - 1
)

// attr is one attribute without its head.
type attr struct {
	id    byte
	named bool
	data  []byte
}

// cut takes the first attribute off b. There is none at the end of b, and none
// where b is not what its length says.
func cut(b []byte) (a attr, rest []byte, ok bool) {
	if len(b) < headLen {
		return attr{}, nil, false
	}
	head := binary.BigEndian.Uint32(b)
	n := int(head & lengthMask)
	if n < headLen || n > len(b) {
		return attr{}, nil, false
	}
	a = attr{id: byte(head >> idShift & idMask), named: head&named != 0, data: b[headLen:n]}
	return a, b[min(padded(n), len(b)):], true
}

// padded rounds a length up to where the next attribute begins.
func padded(n int) int { return (n + 3) &^ 3 }

// pad fills b up to there.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// find gives the attribute with an id; without one, a zero one.
func find(b []byte, id byte) attr {
	for {
		a, rest, ok := cut(b)
		if !ok {
			return attr{}
		}
		if a.id == id {
			return a
		}
		b = rest
	}
}

// number is the value of an attribute that holds one, else 0.
func (a attr) number() uint32 {
	switch len(a.data) {
	case 1:
		return uint32(a.data[0])
	case 4:
		return binary.BigEndian.Uint32(a.data)
	}
	return 0
}

// text is the value of an attribute that holds a string, else empty.
func (a attr) text() string {
	s, _, _ := bytes.Cut(a.data, []byte{0})
	return string(s)
}

func appendAttr(b []byte, id byte, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(id)<<idShift|uint32(headLen+len(data)))
	return pad(append(b, data...))
}

func appendNumber(b []byte, id byte, n uint32) []byte {
	return appendAttr(b, id, binary.BigEndian.AppendUint32(nil, n))
}

func appendText(b []byte, id byte, s string) []byte {
	return appendAttr(b, id, append([]byte(s), 0))
}
