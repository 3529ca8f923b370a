package wire

import "net/netip"

// Names in the SOA record of our own negative answers (RFC 2308 section 3).
const (
	soaMName = "\x08fairlead\x07invalid\x00"
	soaRName = "\x0ahostmaster"
)

// maxEDEText bounds an extended error's text, so that a reply cut down to
// question and OPT always fits into 512 octets.
const maxEDEText = 128

// Reply is an answer that is being built: begun by NewReply, FromStored or
// Adopt, extended by its methods, made whole by Finish. It has the client's own
// id, question (with its letter case) and flags, and RA.
type Reply struct {
	buf   []byte
	base  int // where the message begins in buf
	qend  int // offset behind the question, from base
	owner int // offset of the name that the next record is for, from base

	edns, do, ede bool
	rcode         uint16
	edeCode       uint16
	edeText       string
}

// NewReply begins a reply to query, which q was parsed from, behind what dst
// holds. Rcodes over 15 are sent to clients with EDNS only; the others get
// their low four bits.
func NewReply(dst, query []byte, q *Query, rcode uint16) Reply {
	r := begin(dst, q)
	if r.qend > HeaderLen {
		r.buf = append(r.buf, query[:r.qend]...)
	} else {
		r.buf = append(r.buf, query[:HeaderLen]...)
	}
	m := r.msg()
	clear(m[atQD:HeaderLen])
	if r.qend > HeaderLen {
		m[atQD+1] = 1
	}
	r.setHeader(q, byte(rcode&0xf))
	r.rcode = rcode
	return r
}

// FromStored begins a reply with a message that Response.Scrub made. The error
// is ErrReply if it answers another question than the client's.
func FromStored(dst, stored, query []byte, q *Query) (Reply, error) {
	base := len(dst)
	return Adopt(append(dst, stored...), base, query, q)
}

// Adopt is FromStored with the message already in place, at buf[base:], where
// it is changed into the reply. The AD flag stays only if the client asked for
// it by AD or DO (RFC 6840 section 5.8).
func Adopt(buf []byte, base int, query []byte, q *Query) (Reply, error) {
	r := begin(buf[:base], q)
	r.buf = buf
	m := r.msg()
	if q.QuestionEnd == 0 || len(m) < q.QuestionEnd || get16(m, atQD) != 1 || get16(m, atAR) != 0 ||
		!sameFold(m[HeaderLen:q.QuestionEnd-4], query[HeaderLen:q.QuestionEnd-4]) ||
		get32(m, q.QuestionEnd-4) != get32(query, q.QuestionEnd-4) {
		return Reply{}, ErrReply
	}
	copy(m[HeaderLen:], query[HeaderLen:q.QuestionEnd])
	flags := m[3] & 0xf
	if m[3]&bitAD != 0 && (q.AD || q.DO) {
		flags |= bitAD
	}
	r.setHeader(q, flags)
	r.rcode = uint16(flags & 0xf)
	return r, nil
}

func begin(dst []byte, q *Query) Reply {
	return Reply{
		buf: dst, base: len(dst),
		qend: max(q.QuestionEnd, HeaderLen), owner: HeaderLen,
		edns: q.EDNS, do: q.DO,
	}
}

func (r *Reply) msg() []byte { return r.buf[r.base:] }

// setHeader writes id and flags; low holds the rcode and possibly AD.
func (r *Reply) setHeader(q *Query, low byte) {
	m := r.msg()
	put16(m, 0, q.ID)
	m[2] = bitQR | q.Opcode<<3
	if q.RD {
		m[2] |= bitRD
	}
	m[3] = bitRA | low
	if q.CD {
		m[3] |= bitCD
	}
}

// Authoritative sets AA: the answer is our own knowledge.
func (r *Reply) Authoritative() { r.msg()[2] |= bitAA }

// Addr adds an A or AAAA record for addr; ttl is in seconds.
func (r *Reply) Addr(ttl uint32, addr netip.Addr) {
	if addr = addr.Unmap(); addr.Is4() {
		a := addr.As4()
		r.Record(TypeA, ttl, a[:])
		return
	}
	a := addr.As16()
	r.Record(TypeAAAA, ttl, a[:])
}

// Record adds a record of any type to the answer, for the question's name or
// the target of the last CNAME; ttl is in seconds. Its class is IN, or the
// question's own.
func (r *Reply) Record(typ uint16, ttl uint32, data []byte) {
	r.head(Answer, typ, ttl)
	r.buf = append(r.buf, data...)
	r.tail(len(data))
}

// PTR adds a record that points to a name in presentation form. On ErrName
// nothing is added.
func (r *Reply) PTR(ttl uint32, name string) error {
	_, err := r.named(TypePTR, ttl, name)
	return err
}

// CNAME adds an alias to a name in presentation form; records added later are
// for that name. On ErrName nothing is added.
func (r *Reply) CNAME(ttl uint32, target string) error {
	at, err := r.named(TypeCNAME, ttl, target)
	if err == nil {
		r.owner = at
	}
	return err
}

// Negative adds a SOA record of our own to the authority section, so that the
// client keeps "no such name" or "no such data" for ttl seconds (RFC 2308). It
// comes after all records of the answer.
func (r *Reply) Negative(ttl uint32) {
	const size = len(soaMName) + len(soaRName) + 2 + 20
	r.head(Authority, TypeSOA, ttl)
	mname := len(r.msg())
	r.buf = append(r.buf, soaMName...)
	r.buf = append(r.buf, soaRName...)
	r.buf = append(r.buf, 0xc0|byte(mname>>8), byte(mname))
	for _, v := range [5]uint32{1, 1800, 900, 604800, ttl} { // serial refresh retry expire minimum
		r.buf = append(r.buf, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	r.tail(size)
}

// EDE says why, in the OPT record of clients with EDNS (RFC 8914). The last call
// holds; the text is cut at 128 octets.
func (r *Reply) EDE(code uint16, text string) {
	r.ede, r.edeCode, r.edeText = true, code, text[:min(len(text), maxEDEText)]
}

// Finish adds the OPT record and returns dst with the whole reply behind it. A
// reply over limit octets is cut to its question, with TC: Query.Limit for UDP,
// MaxMessage for TCP.
func (r *Reply) Finish(limit int) []byte {
	if len(r.msg())+r.optLen() > limit {
		r.buf = r.buf[:r.base+r.qend]
		m := r.msg()
		m[2] |= bitTC
		clear(m[atAN:HeaderLen])
	}
	if r.edns {
		r.appendOPT()
	}
	return r.buf
}

func (r *Reply) optLen() int {
	switch {
	case !r.edns:
		return 0
	case r.ede:
		return 11 + 6 + len(r.edeText)
	}
	return 11
}

func (r *Reply) appendOPT() {
	size := r.optLen() - 11
	flags := byte(0)
	if r.do {
		flags = bitDO
	}
	const udpHigh, udpLow = byte(MaxUDP >> 8), byte(MaxUDP & 0xff)
	r.buf = append(r.buf, 0, 0, byte(TypeOPT), udpHigh, udpLow,
		byte(r.rcode>>4), 0, flags, 0, byte(size>>8), byte(size))
	if r.ede {
		n := 2 + len(r.edeText)
		r.buf = append(r.buf, 0, optEDE, byte(n>>8), byte(n), byte(r.edeCode>>8), byte(r.edeCode))
		r.buf = append(r.buf, r.edeText...)
	}
	m := r.msg()
	put16(m, atAR, 1)
}

// Codes of EDNS options (RFC 8914, RFC 7830).
const (
	optPadding = 12
	optEDE     = 15
)

// head begins a record of the current owner; its length is filled in by tail.
func (r *Reply) head(s Section, typ uint16, ttl uint32) {
	m := r.msg()
	put16(m, s.count(), get16(m, s.count())+1)
	class := get16(m, r.qend-2)
	if class == ClassANY {
		class = ClassIN
	}
	r.buf = append(r.buf, 0xc0|byte(r.owner>>8), byte(r.owner), byte(typ>>8), byte(typ), byte(class>>8), byte(class),
		byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), 0, 0)
}

func (r *Reply) tail(size int) { put16(r.buf, len(r.buf)-size-2, uint16(size)) }

// named adds a record whose data is a name and returns the name's offset.
func (r *Reply) named(typ uint16, ttl uint32, name string) (int, error) {
	var space [MaxName]byte
	data, err := AppendName(space[:0], name)
	if err != nil {
		return 0, err
	}
	r.Record(typ, ttl, data)
	return len(r.msg()) - len(data), nil
}
