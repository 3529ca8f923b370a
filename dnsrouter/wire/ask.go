package wire

// padBlock is the size that padded queries are a multiple of (RFC 8467 section
// 4.1).
const padBlock = 128

// Ask is a question for an upstream.
type Ask struct {
	ID          uint16
	Type, Class uint16
	DO, CD      bool
	Size        uint16 // octets that we receive over UDP, for the OPT record
	Pad         bool   // pad to a multiple of 128 octets; for encrypted transports
}

// optLen is the length in octets of an OPT record without options (RFC 6891
// section 6.1.2).
const optLen = 11

// AppendQuery appends a query for a name in presentation form. Its options are
// ours alone: nothing of a client's packet is in it. RD and AD are always set:
// AD asks for the upstream's opinion (RFC 6840 section 5.7), which a reply shows
// only to clients that want it. The error is ErrName.
func AppendQuery(dst []byte, name string, a Ask) ([]byte, error) {
	base := len(dst)
	flags, do := byte(bitAD), byte(0)
	if a.CD {
		flags |= bitCD
	}
	if a.DO {
		do = bitDO
	}
	dst = append(dst, byte(a.ID>>8), byte(a.ID), bitRD, flags, 0, 1, 0, 0, 0, 0, 0, 1)
	dst, err := AppendName(dst, name)
	if err != nil {
		return dst[:base], err
	}
	dst = append(dst, byte(a.Type>>8), byte(a.Type), byte(a.Class>>8), byte(a.Class),
		0, 0, byte(TypeOPT), byte(a.Size>>8), byte(a.Size), 0, 0, do, 0, 0, 0)
	if a.Pad {
		dst = pad(dst, base)
	}
	return dst, nil
}

// pad adds a padding option (RFC 7830) to the OPT record that ends dst.
func pad(dst []byte, base int) []byte {
	used := len(dst) - base + 4
	n := (padBlock - used%padBlock) % padBlock
	put16(dst, len(dst)-2, uint16(4+n))
	dst = append(dst, 0, optPadding, byte(n>>8), byte(n))
	for range n {
		dst = append(dst, 0)
	}
	return dst
}

// WithoutEDNS takes the OPT record out of a query of AppendQuery's that is not
// padded, in place.
func WithoutEDNS(query []byte) []byte {
	put16(query, atAR, 0)
	return query[:len(query)-optLen]
}

// RefusesEDNS tells whether a message is what servers that do not know EDNS say to
// a query with an OPT record (RFC 6891 section 7): FORMERR or NOTIMP without one,
// some by nothing but a header.
func RefusesEDNS(msg, query []byte) bool {
	if len(msg) < HeaderLen || msg[2]&bitQR == 0 || get16(msg, 0) != get16(query, 0) || get16(query, atAR) == 0 || get16(msg, atAR) != 0 {
		return false
	}
	return Rcode(msg) == RcodeFormat || Rcode(msg) == RcodeNotImpl
}

// MixCase sets the case of each letter in the question of a query by the bits
// of random, which are used again if the name is longer ("0x20": an answer must
// repeat it, which a forger has to guess). The query is one of AppendQuery's.
func MixCase(query []byte, random []byte) {
	bit := 0
	for off := HeaderLen; query[off] != 0; off += 1 + int(query[off]) {
		name := query[off+1 : off+1+int(query[off])]
		for i, c := range name {
			if c |= 0x20; 'a' <= c && c <= 'z' {
				name[i] = c &^ (random[bit/8%len(random)] >> (bit % 8) & 1 << 5)
				bit++
			}
		}
	}
}
