package sniff

import "github.com/fairlead/fairlead/gateway/policy"

// maxDatagrams is how many datagrams a QUIC takes before it gives up: twice
// what a ClientHello of maxHello bytes needs.
const maxDatagrams = 32

// QUIC collects the Initial packets of one client's flow, of QUIC version 1
// (RFC 9000, RFC 9001) or 2 (RFC 9369), until the ClientHello in them is whole.
// The zero QUIC is ready. It keeps at most 16 KiB of the hello and a scratch
// of 4 KiB, and nothing once it has its answer. It is not safe for concurrent
// use.
type QUIC struct {
	keys      *initialKeys // of the packets that could be opened; nil: none yet
	hello     cryptoStream // what they carried
	scratch   []byte
	datagrams int
	refused   bool // the client broke the protocol, or a bound
	done      bool
	result    Result // the answer, once done
}

// IsQUIC reports whether datagram begins like a client's flow of QUIC version
// 1 or 2: with the long header of an Initial, or of 0-RTT data that overtook
// it. It looks at the first bytes only.
func IsQUIC(datagram []byte) bool {
	p, _, ok := splitPacket(datagram)
	return ok && (p.kind == initial || p.kind == zeroRTT)
}

// Add takes the flow's next datagram, in whatever order they come. With
// ErrMore the next one is needed, and Result.Protocol is QUIC already if a
// packet could be opened: whoever stops waiting knows that much. Without an
// error the Result is final, and Add keeps returning it; the zero Result says
// that the flow is not QUIC, of an unknown version, or not at its beginning.
// There are no other errors. datagram is neither kept nor changed.
func (q *QUIC) Add(datagram []byte) (Result, error) {
	if q.done {
		return q.result, nil
	}
	q.datagrams++
	res, err := q.add(datagram)
	if err == nil {
		*q = QUIC{done: true, result: res}
	}
	return res, err
}

// add reads datagram and judges what there is now.
func (q *QUIC) add(datagram []byte) (Result, error) {
	sawInitial := q.readPackets(datagram)

	var known Result
	if q.keys != nil {
		known.Protocol = policy.QUIC
	}
	body, err := helloMessage(q.hello.head())
	switch {
	case err == nil:
		hello, _ := parseHello(body) // malformed: still QUIC, without a name
		return Result{Protocol: policy.QUIC, Host: hello.host, ECH: hello.ech}, nil
	case err != ErrMore, q.refused, q.datagrams == maxDatagrams:
		return known, nil
	case !IsQUIC(datagram), sawInitial && q.keys == nil:
		return known, nil
	}
	return known, ErrMore
}

// readPackets collects what the Initial packets in datagram carry, and reports
// whether there were any. All packets of one sender have the connection ID of
// the first one: RFC 9000 section 12.2. A packet that cannot be opened ends the
// datagram, so no datagram costs more than one derivation of keys.
func (q *QUIC) readPackets(datagram []byte) (sawInitial bool) {
	first, rest, ok := splitPacket(datagram)
	for p := first; ok && p.sameSender(first); p, rest, ok = splitPacket(rest) {
		if p.kind != initial {
			continue
		}
		sawInitial = true
		if !q.readInitial(p) {
			break
		}
	}
	return sawInitial
}

// readInitial collects what p carries, and reports whether it could be opened.
//
// The keys come from the connection ID of the client's first Initial and stay
// when the server has chosen another. After a Retry or a version negotiation
// the client begins again with new keys and sends its hello from the start:
// then the keys of p's own connection ID fit.
func (q *QUIC) readInitial(p packet) bool {
	if len(p.whole) > maxInitial {
		return false
	}
	payload, ok := q.open(q.keys, p)
	if !ok && !q.keys.isOf(p) {
		keys := deriveKeys(p.version, p.dcid)
		if payload, ok = q.open(keys, p); ok {
			q.keys, q.hello = keys, cryptoStream{}
		}
	}
	if ok {
		q.collect(payload)
	}
	return ok
}

// open opens a copy of p in the scratch, where the payload stays until the
// next packet is opened.
func (q *QUIC) open(keys *initialKeys, p packet) (payload []byte, ok bool) {
	if keys == nil {
		return nil, false
	}
	q.scratch = append(q.scratch[:0], p.whole...)
	return keys.open(q.scratch, p.number)
}

// collect adds the CRYPTO frames of a payload to the hello.
func (q *QUIC) collect(payload []byte) {
	r := reader{b: payload}
	for len(r.b) > 0 && !q.refused {
		offset, data := nextCrypto(&r)
		q.refused = r.bad || !q.hello.add(offset, data)
	}
}
