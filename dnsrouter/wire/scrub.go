package wire

import (
	"fmt"
	"net/netip"
	"slices"
)

// MaxTTL is the longest life of a record in seconds: a day. Longer ones are cut,
// among them those with the highest bit set (RFC 8767 section 4).
const MaxTTL uint32 = 86400

// MaxNegativeTTL is the longest life of an answer that there is no such name or
// no such data, in seconds: the longest that RFC 2308 section 5 found to work well.
const MaxNegativeTTL uint32 = 3 * 3600

// Filter says what Scrub takes out beside what does not belong. The zero Filter
// takes out nothing more.
type Filter struct {
	// Drop tells which addresses may not be in an answer (DNS rebinding): A and
	// AAAA records go, and of HTTPS and SVCB records the hints that name one.
	Drop func(netip.Addr) bool

	StripECH   bool // parameter ech of HTTPS and SVCB records
	StripHints bool // their parameters ipv4hint and ipv6hint
	StripOther bool // those of them that name another host (RFC 9460 section 2.4), to which the client would then go

	// StripDNSSEC takes out the records of DNSSEC that were not asked for: who
	// does not set DO wants none (RFC 4035 section 3.2.1).
	StripDNSSEC bool
}

// Scrubbed is an answer fit to be stored and given to clients.
type Scrubbed struct {
	Msg      []byte       // without OPT record; the question in lower case
	TTLs     []uint16     // offsets of the TTLs in Msg
	Addrs    []netip.Addr // of A and AAAA records kept, unmapped
	TTL      uint32       // seconds that it may be kept; of negative answers as RFC 2308 section 5 says, 0 without SOA
	Rcode    uint16
	Negative bool // no such name or no such data
	NoName   bool // there is no such name as was asked for, nor an alias of it: true of every type
	Dropped  int  // records that Filter took out or changed
}

// Scrub appends to dst the message that is left of r when everything goes that
// does not answer the question: in the answer section, records outside the
// question's CNAME chain or of other types than the one asked for; in the
// authority section all but the SOA record of a negative answer and the records
// of DNSSEC; the additional section. What is left of the answer is in the order
// of the chain. Scrubbed.Msg begins behind dst. The error
// is ErrChain or ErrTooLong.
func (r *Response) Scrub(dst []byte, f Filter) (Scrubbed, error) {
	chain, err := r.chain()
	if err != nil {
		return Scrubbed{}, fmt.Errorf("scrubbing answer: %w", err)
	}
	s := scrubber{r: r, f: f, chain: chain, pack: packer{buf: dst, base: len(dst)}}
	s.pack.question(r.Msg, r.QuestionEnd)
	s.answer()
	s.authority()
	if len(s.pack.msg()) > MaxMessage {
		return Scrubbed{}, fmt.Errorf("scrubbing answer: %w", ErrTooLong)
	}
	return s.finish(), nil
}

type scrubber struct {
	r     *Response
	f     Filter
	chain chain
	pack  packer
	out   Scrubbed

	found  bool // data of the type asked for
	soa    bool
	ttlSet bool
}

// answer copies what answers the question, in the order of the chain: stub
// resolvers read an answer once, and miss what comes before its alias.
func (s *scrubber) answer() {
	for i := range s.chain.names() {
		for rr := range s.r.Records {
			if rr.Section != Answer {
				break
			}
			if len(s.pack.msg()) > MaxMessage || s.place(rr) != i || s.f.StripDNSSEC && s.unasked(rr) {
				continue
			}
			s.copy(rr)
		}
	}
}

// place is the number of the name in the chain that a record of the answer
// section belongs to, or -1.
func (s *scrubber) place(rr Record) int {
	msg, names := s.r.Msg, s.chain.names()
	if rr.Class != s.r.Class && s.r.Class != ClassANY {
		return -1
	}
	for i, name := range names {
		last := i == len(names)-1
		switch {
		case rr.Type == TypeDNAME && s.r.Type != TypeDNAME,
			s.signs(rr, TypeDNAME):
			if within(msg, name, rr.Name) {
				return i
			}
		case !sameName(msg, rr.Name, msg, name):
		case !last && rr.Type == TypeCNAME:
			if rr.Data != names[i+1] {
				return -1 // not the one that was followed
			}
			return i
		case rr.Type == TypeRRSIG:
			if s.r.Type == TypeANY || s.r.Type == TypeRRSIG || s.signs(rr, TypeCNAME, s.r.Type) {
				return i
			}
		case last && (rr.Type == s.r.Type || s.r.Type == TypeANY):
			return i
		}
	}
	return -1
}

// unasked tells the signatures that the question was not for.
func (s *scrubber) unasked(rr Record) bool {
	return rr.Type == TypeRRSIG && s.r.Type != TypeRRSIG && s.r.Type != TypeANY
}

// authority copies what proves or bounds a negative answer. Name servers go: no
// client needs them, and forgers like them.
func (s *scrubber) authority() {
	negative := s.r.Rcode == RcodeNXDomain || s.r.Rcode == RcodeSuccess && !s.found
	s.out.Negative = negative
	for rr := range s.r.Records {
		if rr.Section != Authority || rr.Class != s.r.Class || len(s.pack.msg()) > MaxMessage {
			continue
		}
		switch {
		case rr.Type == TypeSOA:
			if negative && !s.soa && within(s.r.Msg, s.chain.last(), rr.Name) {
				s.soa = true
				rr.TTL = min(rr.TTL, get32(s.r.Msg, rr.End-4), MaxNegativeTTL) // MINIMUM is the last field
				s.copy(rr)
			}
		case s.f.StripDNSSEC:
		case rr.Type == TypeNSEC, rr.Type == TypeNSEC3, s.signs(rr, TypeSOA, TypeNSEC, TypeNSEC3):
			s.copy(rr)
		}
	}
}

// signs tells whether a record is the signature of one of the types.
func (s *scrubber) signs(rr Record, types ...uint16) bool {
	return rr.Type == TypeRRSIG && slices.Contains(types, get16(s.r.Msg, rr.Data))
}

// copy writes one record, unless the filter takes it.
func (s *scrubber) copy(rr Record) {
	addr, isAddr := s.r.addr(rr)
	if isAddr && s.f.Drop != nil && s.f.Drop(addr) {
		s.out.Dropped++
		return
	}
	var service []byte
	if rr.Type == TypeSVCB || rr.Type == TypeHTTPS {
		kept, ok := s.f.service(s.r.Msg[rr.Data:rr.End])
		if !ok {
			s.out.Dropped++
			return
		}
		if len(kept) < rr.End-rr.Data {
			s.out.Dropped++
		}
		service = kept
	}

	rr.TTL = min(rr.TTL, MaxTTL)
	at := s.pack.head(s.r.Msg, rr, rr.TTL)
	if service != nil {
		s.pack.buf = append(s.pack.buf, service...)
	} else {
		s.pack.data(s.r.Msg, rr)
	}
	s.pack.tail(at)
	s.note(rr, at, addr)
}

// note keeps account of a record that was written.
func (s *scrubber) note(rr Record, at int, addr netip.Addr) {
	s.out.TTLs = append(s.out.TTLs, uint16(at))
	if addr.IsValid() {
		s.out.Addrs = append(s.out.Addrs, addr)
	}
	if rr.Section == Answer && (rr.Type == s.r.Type || s.r.Type == TypeANY) {
		s.found = true
	}
	if !s.ttlSet || rr.TTL < s.out.TTL {
		s.out.TTL, s.ttlSet = rr.TTL, true
	}
}

func (s *scrubber) finish() Scrubbed {
	s.out.Msg, s.out.Rcode = s.pack.msg(), s.r.Rcode
	s.out.Msg[2] &^= bitTC
	s.out.NoName = s.out.Rcode == RcodeNXDomain && get16(s.out.Msg, atAN) == 0
	if s.out.Negative && !s.soa {
		s.out.TTL = 0
	}
	if s.out.Dropped > 0 {
		s.out.Msg[3] &^= bitAD // what was changed is not what was signed
	}
	return s.out
}
