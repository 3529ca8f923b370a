package sniff

import (
	"bytes"
	"encoding/binary"

	"github.com/fairlead/fairlead/gateway/policy"
)

// Datagram tells the protocol of a UDP flow from its first datagram, for
// everything but QUIC: STUN, DNS, and BitTorrent's three (uTP, DHT, trackers).
// There is never a Host. b is neither kept nor changed.
func Datagram(b []byte) Result {
	switch {
	case isSTUN(b):
		return Result{Protocol: policy.STUN}
	case isUTP(b), isDHT(b), isUDPTracker(b):
		return Result{Protocol: policy.BitTorrent}
	case isDNSQuery(b):
		return Result{Protocol: policy.DNS}
	}
	return Result{}
}

// isSTUN reports whether b is one STUN message, RFC 8489 section 5.
func isSTUN(b []byte) bool {
	const header, cookie = 20, 0x2112a442
	if len(b) < header || b[0]>>6 != 0 || binary.BigEndian.Uint32(b[4:]) != cookie {
		return false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	return n%4 == 0 && header+n == len(b)
}

// isUTP reports whether b is the packet that opens a uTP connection (BEP 29):
// version 1, ST_SYN, nothing to acknowledge yet, and nothing behind the header
// but its extensions.
func isUTP(b []byte) bool {
	const synVersion1 = 0x41
	r := reader{b: b}
	kind, extension := r.uint(1), r.uint(1)
	r.bytes(2 + 4) // connection id, timestamp
	delay := r.uint(4)
	r.bytes(4 + 2) // window, sequence number
	acked := r.uint(2)
	for extension != 0 && !r.bad {
		extension = r.uint(1)
		r.vector(1)
	}
	return kind == synVersion1 && delay == 0 && acked == 0 && r.end()
}

// isDHT reports whether b is a query of BitTorrent's distributed hash table
// (BEP 5): a bencoded dictionary whose arguments begin with the sender's id,
// and which says that it is a query.
func isDHT(b []byte) bool {
	return bytes.HasPrefix(b, []byte("d1:ad2:id20:")) &&
		bytes.Contains(b, []byte("1:y1:q")) &&
		bytes.HasSuffix(b, []byte("e"))
}

// isUDPTracker reports whether b asks a tracker for a connection (BEP 15):
// the protocol's number, action 0, a transaction id.
func isUDPTracker(b []byte) bool {
	const request, protocol = 16, 0x41727101980
	return len(b) >= request && binary.BigEndian.Uint64(b) == protocol && binary.BigEndian.Uint32(b[8:]) == 0
}
