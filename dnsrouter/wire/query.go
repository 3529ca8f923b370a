package wire

// Query is a client's question, as Parse read it. It is large: keep one for
// each worker and parse into it again. The zero Query is ready for use.
type Query struct {
	ID      uint16
	Opcode  uint8
	RD      bool // recursion desired
	AD, CD  bool // DNSSEC: authentic data wanted, checking disabled (RFC 6840)
	Type    uint16
	Class   uint16
	EDNS    bool   // there was an OPT record; the reply must have one
	DO      bool   // DNSSEC records wanted
	Version uint8  // of EDNS
	UDPSize uint16 // octets the client can receive over UDP, at least 512

	// QuestionEnd is the offset behind the question; 0 when none could be read.
	QuestionEnd int

	labels  uint8
	nameLen uint16
	name    [MaxText]byte
}

// Parse reads a message from a client. ErrIgnore asks for silence; after
// ErrFormat, ErrOpcode and ErrVersion the Query can still be handed to NewReply
// with FORMERR, NOTIMP or BADVERS. Nothing of msg is kept.
func (q *Query) Parse(msg []byte) error {
	if len(msg) < HeaderLen || msg[2]&bitQR != 0 {
		return ErrIgnore
	}
	q.parseHeader(msg)
	if q.Opcode != 0 {
		return ErrOpcode
	}
	if get16(msg, atQD) != 1 || !q.parseQuestion(msg) {
		return ErrFormat
	}
	if err := q.parseRecords(msg); err != nil {
		return err
	}
	if q.Version != 0 {
		return ErrVersion
	}
	return nil
}

// Name is the name asked for in presentation form: lower-case, without the
// trailing dot, special octets escaped as RFC 1035 section 5.1 says; empty for
// the root. It is valid until the next Parse.
func (q *Query) Name() []byte { return q.name[:q.nameLen] }

// Labels counts the labels of the name; the root has none.
func (q *Query) Labels() int { return int(q.labels) }

// Limit is how many octets a reply over UDP may have.
func (q *Query) Limit() int { return int(min(q.UDPSize, MaxUDP)) }

func (q *Query) parseHeader(msg []byte) {
	q.ID = get16(msg, 0)
	q.Opcode = msg[2] >> 3 & 0xf
	q.RD = msg[2]&bitRD != 0
	q.AD = msg[3]&bitAD != 0
	q.CD = msg[3]&bitCD != 0
	q.Type, q.Class = 0, 0
	q.EDNS, q.DO, q.Version, q.UDPSize = false, false, 0, MinUDP
	q.QuestionEnd, q.labels, q.nameLen = 0, 0, 0
}

func (q *Query) parseQuestion(msg []byte) bool {
	end := nameEnd(msg, HeaderLen) // no pointer can be right: nothing precedes this name
	if end < 0 || end+4 > len(msg) {
		return false
	}
	q.nameLen = uint16(len(appendText(q.name[:0], msg, HeaderLen)))
	q.labels = uint8(countLabels(msg, HeaderLen))
	q.Type, q.Class = get16(msg, end), get16(msg, end+2)
	q.QuestionEnd = end + 4
	return true
}

// parseRecords reads what follows the question: in practice one OPT record or
// nothing. All of it must be well-formed, up to the last octet.
func (q *Query) parseRecords(msg []byte) error {
	off := q.QuestionEnd
	for s := Answer; s <= Additional; s++ {
		for n := get16(msg, s.count()); n > 0; n-- {
			rr, ok := readRecord(msg, off)
			if !ok || rr.Type == TypeOPT && (s != Additional || !q.parseOPT(msg, rr)) {
				return ErrFormat
			}
			off = rr.End
		}
	}
	if off != len(msg) {
		return ErrFormat
	}
	return nil
}

// parseOPT reads an OPT record (RFC 6891 section 6.1.2). The client's options
// are checked for their form only, which another version of EDNS may change: none
// of them is ours to pass on.
func (q *Query) parseOPT(msg []byte, rr Record) bool {
	if q.EDNS || msg[rr.Name] != 0 {
		return false
	}
	q.EDNS = true
	q.UDPSize = max(rr.Class, MinUDP)
	q.Version = uint8(rr.TTL >> 16)
	q.DO = rr.TTL>>8&bitDO != 0
	return q.Version != 0 || validOptions(msg[rr.Data:rr.End])
}

func validOptions(b []byte) bool {
	for len(b) >= 4 {
		n := 4 + int(get16(b, 2))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}

// AppendQuestion appends the name that a message's only question asks for, in the
// form of Query.Name, be it a query or a response; what follows the question may
// be missing. ok is false if there is none to be read.
func AppendQuestion(dst, msg []byte) (name []byte, typ uint16, ok bool) {
	if len(msg) < HeaderLen || get16(msg, atQD) != 1 {
		return dst, 0, false
	}
	end := nameEnd(msg, HeaderLen)
	if end < 0 || end+4 > len(msg) {
		return dst, 0, false
	}
	return appendText(dst, msg, HeaderLen), get16(msg, end), true
}

// IsResponse tells answers from questions by the header.
func IsResponse(msg []byte) bool { return len(msg) >= HeaderLen && msg[2]&bitQR != 0 }
