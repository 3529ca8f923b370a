package ubustest

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The numbers below are those of blob.h, blobmsg.h and ubusmsg.h. Everything is
// big endian, and everything begins at a multiple of four.

func align(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// attr is an attribute of a message: its number, its length and its bytes.
func attr(id byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)+4))
	b[0] = id
	return align(append(b, data...))
}

func number(id byte, n uint32) []byte { return attr(id, binary.BigEndian.AppendUint32(nil, n)) }
func text(id byte, s string) []byte   { return attr(id, []byte(s+"\x00")) }

// send writes a message. One that cannot be written has nobody to read it.
func (c *client) send(kind byte, seq uint16, peer uint32, attrs ...[]byte) {
	all := attr(0, bytes.Join(attrs, nil))
	b := []byte{0, kind, byte(seq >> 8), byte(seq), byte(peer >> 24), byte(peer >> 16), byte(peer >> 8), byte(peer)}
	c.Write(append(b, all...))
}

// split gives the attributes of a message by their numbers.
func split(b []byte) (map[byte][]byte, error) {
	all := map[byte][]byte{}
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, fmt.Errorf("%d octets are left over", len(b))
		}
		n := int(binary.BigEndian.Uint32(b) & 0xffffff)
		if n < 4 || (n+3)&^3 > len(b) || b[0]&0x80 != 0 {
			return nil, fmt.Errorf("an attribute of type %#x has %d octets of %d", b[0], n, len(b))
		}
		all[b[0]] = b[4:n]
		b = b[(n+3)&^3:]
	}
	return all, nil
}

func word(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// cString is a string that ends with a zero, which may not be missing.
func cString(b []byte) string {
	s, _, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return "no string"
	}
	return string(s)
}

// blobmsg is a value of that format: an attribute whose type is its number, and whose
// name comes before its bytes.
func blobmsg(name string, value any) []byte {
	kind, data := byte(0), []byte(nil)
	switch v := value.(type) {
	case Array:
		kind = 1
		for _, e := range v {
			data = append(data, blobmsg("", e)...)
		}
	case Table:
		kind, data = 2, v.bytes()
	case string:
		kind, data = 3, []byte(v+"\x00")
	case int:
		kind, data = 5, binary.BigEndian.AppendUint32(nil, uint32(v))
	case bool:
		kind, data = 7, []byte{0}
		if v {
			data[0] = 1
		}
	default:
		panic(fmt.Sprintf("ubustest: a value cannot be a %T", value))
	}
	head := align(append(append([]byte{byte(len(name) >> 8), byte(len(name))}, name...), 0))
	return attr(0x80|kind, append(head, data...))
}

func (t Table) bytes() []byte {
	var b []byte
	for _, f := range t {
		b = append(b, blobmsg(f.name, f.value)...)
	}
	return b
}
