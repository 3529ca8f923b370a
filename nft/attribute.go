package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The attributes of elements are written in place, because there are elements
// in every transaction that a question waits for, and the library's encoder
// allocates at each level. An attribute is its length and its kind in the host's
// byte order, and its data, filled up to four bytes (linux/netlink.h). Numbers of
// nf_tables are big endian.

func appendAttribute(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, -len(data)&3)...)
}

// appendNest appends an attribute that holds those which fill appends.
func appendNest(b []byte, kind uint16, fill func(b []byte) []byte) []byte {
	at := len(b)
	b = fill(appendAttribute(b, kind|unix.NLA_F_NESTED, nil))
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	return b
}

func appendNumber32(b []byte, kind uint16, n uint32) []byte {
	var data [4]byte
	binary.BigEndian.PutUint32(data[:], n)
	return appendAttribute(b, kind, data[:])
}

func appendNumber64(b []byte, kind uint16, n uint64) []byte {
	var data [8]byte
	binary.BigEndian.PutUint64(data[:], n)
	return appendAttribute(b, kind, data[:])
}

// appendData appends a value as sets hold it.
func appendData(b []byte, kind uint16, data []byte) []byte {
	return appendNest(b, kind, func(b []byte) []byte { return appendAttribute(b, unix.NFTA_DATA_VALUE, data) })
}

func (v verdict) append(b []byte) []byte {
	return appendNest(b, unix.NFTA_DATA_VERDICT, func(b []byte) []byte {
		b = appendNumber32(b, unix.NFTA_VERDICT_CODE, uint32(v.kind))
		if v.chain != "" {
			b = appendAttribute(b, unix.NFTA_VERDICT_CHAIN, append([]byte(v.chain), 0))
		}
		return b
	})
}
