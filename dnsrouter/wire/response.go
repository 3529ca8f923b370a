package wire

import "net/netip"

// maxChain is how many CNAME records of an answer are followed, as others do.
const maxChain = 11

// Response is an upstream's answer whose every record was found well-formed. Its
// methods do not fail on that account, and share Msg's bytes.
type Response struct {
	Msg         []byte
	Rcode       uint16 // with the upper bits from the OPT record
	AD          bool
	Type, Class uint16 // of the question
	QuestionEnd int
}

// Validate tells whether msg is the response to query, one of AppendQuery's:
// ErrMalformed, ErrMismatch (id or question), or ErrCase if exactCase is asked
// for and only the letter case of the question differs. Of a truncated message
// (IsTruncated) only header and question are looked at, since senders cut
// anywhere.
func Validate(msg, query []byte, exactCase bool) error {
	if len(msg) < HeaderLen || msg[2]&bitQR == 0 || msg[2]>>3&0xf != 0 || get16(msg, atQD) != 1 {
		return ErrMalformed
	}
	end := nameEnd(msg, HeaderLen)
	if end < 0 || end+4 > len(msg) {
		return ErrMalformed
	}
	if get16(msg, 0) != get16(query, 0) || len(query) < end+4 ||
		!sameFold(msg[HeaderLen:end], query[HeaderLen:end]) || get32(msg, end) != get32(query, end) {
		return ErrMismatch
	}
	if exactCase && string(msg[HeaderLen:end]) != string(query[HeaderLen:end]) {
		return ErrCase
	}
	if IsTruncated(msg) {
		return nil
	}
	_, err := ParseResponse(msg)
	return err
}

// IsTruncated tells whether a message of at least header length has TC set.
func IsTruncated(msg []byte) bool { return msg[2]&bitTC != 0 }

// SetTruncated sets TC in a message of at least header length.
func SetTruncated(msg []byte) { msg[2] |= bitTC }

// SetType changes the type in the question of a message that Response.Scrub
// made: that there is no such name is true of every type.
func SetType(msg []byte, typ uint16) {
	if end := nameEnd(msg, HeaderLen); end > 0 && end+4 <= len(msg) {
		put16(msg, end, typ)
	}
}

// Rcode is the response code of a message of at least header length, without
// the upper bits.
func Rcode(msg []byte) uint16 { return uint16(msg[3] & 0xf) }

// ParseResponse checks a whole message: one question, sections that hold what
// the header counts and end with the message, names whose pointers lead
// backwards, at most one OPT record. The error is ErrMalformed.
func ParseResponse(msg []byte) (Response, error) {
	if len(msg) < HeaderLen || len(msg) > MaxMessage || msg[2]&bitQR == 0 || get16(msg, atQD) != 1 {
		return Response{}, ErrMalformed
	}
	end := nameEnd(msg, HeaderLen)
	if end < 0 || end+4 > len(msg) {
		return Response{}, ErrMalformed
	}
	r := Response{
		Msg: msg, Rcode: Rcode(msg), AD: msg[3]&bitAD != 0,
		Type: get16(msg, end), Class: get16(msg, end+2), QuestionEnd: end + 4,
	}
	if !r.checkRecords() {
		return Response{}, ErrMalformed
	}
	return r, nil
}

func (r *Response) checkRecords() bool {
	off, opts := r.QuestionEnd, 0
	for s := Answer; s <= Additional; s++ {
		for n := get16(r.Msg, s.count()); n > 0; n-- {
			rr, ok := readRecord(r.Msg, off)
			if !ok || !validData(r.Msg, rr) {
				return false
			}
			if rr.Type == TypeOPT {
				if opts++; opts > 1 || s != Additional || r.Msg[rr.Name] != 0 {
					return false
				}
				r.Rcode |= uint16(rr.TTL>>24) << 4
			}
			off = rr.End
		}
	}
	return off == len(r.Msg)
}

// Records yields the records in the order of the message: for rr := range
// r.Records.
func (r *Response) Records(yield func(Record) bool) {
	off := r.QuestionEnd
	for s := Answer; s <= Additional; s++ {
		for n := get16(r.Msg, s.count()); n > 0; n-- {
			rr, _ := readRecord(r.Msg, off)
			rr.Section = s
			if !yield(rr) {
				return
			}
			off = rr.End
		}
	}
}

// AppendAddrs appends the addresses of the A and AAAA records at the end of the
// question's CNAME chain, unmapped; none if the chain is too long.
func (r *Response) AppendAddrs(dst []netip.Addr) []netip.Addr {
	chain, err := r.chain()
	if err != nil {
		return dst
	}
	for rr := range r.Records {
		if rr.Section != Answer {
			break
		}
		if addr, ok := r.addr(rr); ok && sameName(r.Msg, rr.Name, r.Msg, chain.last()) {
			dst = append(dst, addr)
		}
	}
	return dst
}

// addr reads the address of an A or AAAA record.
func (r *Response) addr(rr Record) (netip.Addr, bool) {
	if rr.Class != ClassIN || rr.Type != TypeA && rr.Type != TypeAAAA {
		return netip.Addr{}, false
	}
	addr, ok := netip.AddrFromSlice(r.Msg[rr.Data:rr.End])
	return addr.Unmap(), ok
}

// chain is the question's name and the targets of the CNAME records that lead
// on from it: offsets of names.
type chain struct {
	at [1 + maxChain]int
	n  int
}

func (c *chain) names() []int { return c.at[:c.n] }

func (c *chain) last() int { return c.at[c.n-1] }

// chain follows the CNAME records. Where the question is for the alias itself,
// nothing is followed. A loop ends as ErrChain, too.
func (r *Response) chain() (chain, error) {
	c := chain{at: [1 + maxChain]int{HeaderLen}, n: 1}
	if r.Type == TypeCNAME || r.Type == TypeANY {
		return c, nil
	}
	for {
		target, ok := r.aliasOf(c.last())
		if !ok {
			return c, nil
		}
		if c.n == len(c.at) {
			return c, ErrChain
		}
		c.at[c.n] = target
		c.n++
	}
}

// aliasOf finds the first CNAME record of a name and returns the offset of its
// target.
func (r *Response) aliasOf(name int) (int, bool) {
	for rr := range r.Records {
		if rr.Section != Answer {
			break
		}
		if rr.Type == TypeCNAME && rr.Class == r.Class && sameName(r.Msg, rr.Name, r.Msg, name) {
			return rr.Data, true
		}
	}
	return 0, false
}
