package sniff

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"slices"
)

// initialPacket is what a test puts into one Initial packet of a client.
type initialPacket struct {
	version uint32
	dcid    []byte // in the header
	keyed   []byte // what the keys are derived from; nil: dcid
	token   []byte
	number  uint64 // packet number
	bytes   int    // of the packet number in the header, 1 to 4; 0: 4
	payload []byte
}

// seal protects p: RFC 9001, 5.3 and 5.4, the other way round.
func (p initialPacket) seal() []byte {
	keyed := p.keyed
	if keyed == nil {
		keyed = p.dcid
	}
	keys := deriveKeys(p.version, keyed)
	n := p.bytes
	if n == 0 {
		n = 4
	}
	header := longHeader(p.version, initial, p.dcid)
	header[0] |= byte(n - 1)
	header = append(header, vec(1, p.token)...) // tokens of tests are shorter than 64 bytes
	header = appendVarint2(header, n+len(p.payload)+keys.payload.Overhead())
	number := len(header)
	header = append(header, binary.BigEndian.AppendUint64(nil, p.number)[8-n:]...)

	nonce := keys.iv
	for i := range 8 {
		nonce[4+i] ^= byte(p.number >> (56 - 8*i))
	}
	packet := keys.payload.Seal(header, nonce[:], p.payload, header)
	var mask [aes.BlockSize]byte
	keys.header.Encrypt(mask[:], packet[number+4:number+4+aes.BlockSize])
	packet[0] ^= mask[0] & 0x0f
	for i := range n {
		packet[number+i] ^= mask[1+i]
	}
	return packet
}

// longHeader is a long header up to its source connection ID, which is empty.
func longHeader(version uint32, kind byte, dcid []byte) []byte {
	if version == version2 {
		kind = (kind + 1) & 3
	}
	b := binary.BigEndian.AppendUint32([]byte{0xc0 | kind<<4}, version)
	return append(append(b, vec(1, dcid)...), 0)
}

// zeroRTTPacket is a packet of early data that nobody can open.
func zeroRTTPacket(version uint32, dcid []byte) []byte {
	b := appendVarint2(longHeader(version, zeroRTT, dcid), 100)
	return append(b, bytes.Repeat([]byte{0xaa}, 100)...)
}

// appendVarint2 appends n as a variable-length integer of two bytes.
func appendVarint2(b []byte, n int) []byte {
	return append(b, 0x40|byte(n>>8), byte(n))
}

// cryptoFrame carries data at offset.
func cryptoFrame(offset int, data []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{frameCrypto}, 0x80000000|uint32(offset))
	return append(appendVarint2(b, len(data)), data...)
}

// padded is frames with padding to n bytes.
func padded(n int, frames ...[]byte) []byte {
	b := slices.Concat(frames...)
	return append(b, make([]byte, max(0, n-len(b)))...)
}
