package sniff

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
)

// maxInitial bounds one Initial packet. Clients keep theirs below the path's
// MTU, seldom above 1,500 bytes, and their datagrams above 1,200.
const maxInitial = 4 << 10

// The versions that can be read, and their salts: RFC 9001 section 5.2,
// RFC 9369 sections 3.1 and 3.3.1.
const (
	version1 = 0x00000001
	version2 = 0x6b3343cf
	salt1    = "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"
	salt2    = "\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9"
)

// The kinds of long header packets, numbered as in version 1: RFC 9000 section 17.2.
const (
	initial = iota
	zeroRTT
	handshake
	retry
)

// packet is one long header packet, still protected. Its slices are of the datagram.
type packet struct {
	version uint32
	kind    byte
	dcid    []byte
	whole   []byte // from its first byte to the end of its payload
	number  int    // offset of the packet number in whole
}

// sameSender reports whether p and q may be from one sender's datagram.
func (p packet) sameSender(q packet) bool {
	return p.version == q.version && bytes.Equal(p.dcid, q.dcid)
}

// splitPacket splits the first packet off a datagram; ok is false if that is
// not a long header packet of a known version, or one that only servers send.
// The fixed bit is not checked, since clients may grease it: RFC 9287.
func splitPacket(datagram []byte) (p packet, rest []byte, ok bool) {
	const longHeader = 0x80
	r := reader{b: datagram}
	first := byte(r.uint(1))
	p.version = uint32(r.uint(4))
	if first&longHeader == 0 || p.version != version1 && p.version != version2 {
		return packet{}, nil, false
	}
	p.kind = first >> 4 & 3
	if p.version == version2 { // RFC 9369, 3.2: counted from Retry
		p.kind = (p.kind - 1) & 3
	}
	p.dcid = r.vector(1)
	scid := r.vector(1)
	if p.kind == initial {
		r.bytes(r.varint()) // token
	}
	length := r.varint()
	p.number = len(datagram) - len(r.b)
	r.bytes(length)
	if r.bad || p.kind == retry || len(p.dcid) > 20 || len(scid) > 20 {
		return packet{}, nil, false
	}
	p.whole = datagram[:len(datagram)-len(r.b)]
	return p, r.b, true
}

// initialKeys are the keys of a client's Initial packets, which everyone who
// sees the first of them can derive.
type initialKeys struct {
	version uint32
	dcid    []byte // what they were derived from
	payload cipher.AEAD
	iv      [12]byte
	header  cipher.Block
}

// deriveKeys derives the client's keys, RFC 9001 section 5.2. It returns nil
// where the Go runtime was told to refuse such keys (FIPS 140).
func deriveKeys(version uint32, dcid []byte) *initialKeys {
	salt, prefix := salt1, "quic "
	if version == version2 {
		salt, prefix = salt2, "quicv2 "
	}
	secret, err := hkdf.Extract(sha256.New, dcid, []byte(salt))
	if err != nil {
		return nil
	}
	secret = expandLabel(secret, "client in", sha256.Size)
	payload, err := aes.NewCipher(expandLabel(secret, prefix+"key", 16))
	if err != nil {
		return nil
	}
	header, err := aes.NewCipher(expandLabel(secret, prefix+"hp", 16))
	if err != nil {
		return nil
	}
	aead, err := cipher.NewGCM(payload)
	if err != nil {
		return nil
	}
	k := &initialKeys{version: version, dcid: bytes.Clone(dcid), payload: aead, header: header}
	copy(k.iv[:], expandLabel(secret, prefix+"iv", len(k.iv)))
	return k
}

// expandLabel is HKDF-Expand-Label without context, RFC 8446 section 7.1. It
// returns nil where the runtime refuses.
func expandLabel(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
	info = append(info, 0)
	key, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		return nil
	}
	return key
}

// isOf reports whether p's own connection ID would give these keys.
func (k *initialKeys) isOf(p packet) bool {
	return k != nil && k.version == p.version && bytes.Equal(k.dcid, p.dcid)
}

// open removes the protection of the Initial packet p in place, RFC 9001
// sections 5.3 and 5.4, and returns its payload. The packet number begins at
// the offset number.
func (k *initialKeys) open(p []byte, number int) (payload []byte, ok bool) {
	const longest = 4 // of packet numbers; the sample begins where such a one would end
	if len(p) < number+longest+aes.BlockSize {
		return nil, false
	}
	var mask [aes.BlockSize]byte
	k.header.Encrypt(mask[:], p[number+longest:number+longest+aes.BlockSize])
	p[0] ^= mask[0] & 0x0f
	n := int(p[0]&3) + 1

	// A client that no acknowledgement has reached writes its packet numbers
	// in full (RFC 9000, A.2), so what is there is not expanded.
	nonce := k.iv
	for i := range n {
		p[number+i] ^= mask[1+i]
		nonce[len(nonce)-n+i] ^= p[number+i]
	}
	aad, sealed := p[:number+n], p[number+n:]
	payload, err := k.payload.Open(sealed[:0], nonce[:], sealed, aad)
	return payload, err == nil
}
