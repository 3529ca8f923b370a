package sniff

import "github.com/fairlead/fairlead/gateway/policy"

// dnsHeader is the length of a DNS message's header, RFC 1035 section 4.1.1.
const dnsHeader = 12

// maxStreamQuery bounds a query over TCP. Padded ones (RFC 8467, 4.1) have a
// multiple of 128 bytes. The bound also keeps the first byte of the length away
// from every other protocol's.
const maxStreamQuery = 1 << 10

// dnsStream tells DNS over TCP, RFC 1035 section 4.2.2, by a whole query.
func dnsStream(b []byte) (Result, error) {
	if len(b) > 0 && b[0] > maxStreamQuery>>8 {
		return Result{}, errOther
	}
	if len(b) < 2+dnsHeader {
		return Result{}, ErrMore
	}
	n := int(b[0])<<8 | int(b[1])
	b = b[2:]
	switch {
	case n > maxStreamQuery || n < dnsHeader || !isQueryHeader(b[:dnsHeader]):
		return Result{}, errOther
	case len(b) < n:
		return Result{}, ErrMore
	case !isDNSQuery(b[:n]):
		return Result{}, errOther
	}
	return Result{Protocol: policy.DNS}, nil
}

// isDNSQuery reports whether b is a DNS query with one question and at most an
// OPT and a signature behind it.
func isDNSQuery(b []byte) bool {
	if len(b) < dnsHeader || !isQueryHeader(b[:dnsHeader]) {
		return false
	}
	r := reader{b: b[dnsHeader:]}
	if !skipName(&r) {
		return false
	}
	kind, class := r.uint(2), r.uint(2)
	isClass := class == 1 || class == 3 || class == 4 || class == 255 // IN, CH, HS, ANY
	extra := b[11] > 0
	return !r.bad && kind != 0 && isClass && extra == (len(r.b) > 0)
}

// isQueryHeader reports whether h is the header of a query: QR 0, opcode 0,
// response code 0, one question, no answers, no authority, at most two
// additional records.
func isQueryHeader(h []byte) bool {
	r := reader{b: h[2:]}
	const truncated, answered = 0x0600, 0xf84f // TC and AA; QR, opcode, Z and RCODE
	flags := r.uint(2)
	questions, answers, authority, additional := r.uint(2), r.uint(2), r.uint(2), r.uint(2)
	return flags&(answered|truncated) == 0 && questions == 1 && answers == 0 && authority == 0 && additional <= 2
}

// skipName takes a name without compression off r.
func skipName(r *reader) bool {
	for total := 0; total < 255; {
		label := r.vector(1)
		if r.bad || len(label) > 63 {
			return false
		}
		if len(label) == 0 {
			return true
		}
		total += 1 + len(label)
	}
	return false
}
