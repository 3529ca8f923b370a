package sniff

import "bytes"

// The frames that an Initial packet may carry: RFC 9000 sections 12.4 and 19.
const (
	framePadding         = "\x00"
	framePing            = 0x01
	frameAck             = 0x02
	frameAckECN          = 0x03
	frameCrypto          = 0x06
	frameConnectionClose = 0x1c
)

// nextCrypto takes frames off r up to the next CRYPTO frame and returns what
// that carries. At the end there is no data; a frame that must not be there
// makes r bad.
func nextCrypto(r *reader) (offset uint64, data []byte) {
	for {
		r.b = bytes.TrimLeft(r.b, framePadding)
		if len(r.b) == 0 {
			return 0, nil
		}
		switch kind := r.varint(); kind {
		case framePing:
		case frameAck, frameAckECN:
			skipAck(r, kind)
		case frameConnectionClose:
			r.varint() // error code
			r.varint() // frame type
			r.bytes(r.varint())
		case frameCrypto:
			offset = r.varint()
			return offset, r.bytes(r.varint())
		default:
			r.bad = true
			return 0, nil
		}
	}
}

// skipAck takes the rest of an ACK frame off r.
func skipAck(r *reader, kind uint64) {
	r.varint() // largest acknowledged
	r.varint() // delay
	ranges := r.varint()
	r.varint() // first range
	for ; ranges > 0 && !r.bad; ranges-- {
		r.varint() // gap
		r.varint() // range
	}
	if kind == frameAckECN {
		r.varint()
		r.varint()
		r.varint()
	}
}
