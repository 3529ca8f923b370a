// Package wire reads and writes DNS messages in their wire form (RFC 1035), so
// that the path of a query neither unpacks nor allocates.
//
// A [Query] is what a client asked, a [Reply] is built in answer to it, and a
// [Response] is what an upstream said: checked once by [ParseResponse], then cut
// down to what answers the question by [Response.Scrub].
package wire

import "errors"

// Sizes in octets (RFC 1035 sections 2.3.4 and 4.1.1, RFC 6891 section 6.2.3).
const (
	HeaderLen  = 12
	MaxName    = 255   // a name in wire form, with its root label
	MaxText    = 1003  // the same in presentation form, every octet escaped
	MaxMessage = 65535 // what the length prefix of TCP can say
	MinUDP     = 512   // what every client can receive

	// MaxUDP is what we send and accept over UDP: it passes any path without
	// fragments (DNS flag day 2020), and fragments can be forged.
	MaxUDP = 1232
)

// Types of records (IANA "Domain Name System Parameters").
const (
	TypeA      uint16 = 1
	TypeNS     uint16 = 2
	TypeMD     uint16 = 3
	TypeMF     uint16 = 4
	TypeCNAME  uint16 = 5
	TypeSOA    uint16 = 6
	TypeMB     uint16 = 7
	TypeMG     uint16 = 8
	TypeMR     uint16 = 9
	TypePTR    uint16 = 12
	TypeHINFO  uint16 = 13
	TypeMINFO  uint16 = 14
	TypeMX     uint16 = 15
	TypeTXT    uint16 = 16
	TypeRP     uint16 = 17
	TypeAFSDB  uint16 = 18
	TypeRT     uint16 = 21
	TypeSIG    uint16 = 24
	TypePX     uint16 = 26
	TypeAAAA   uint16 = 28
	TypeNXT    uint16 = 30
	TypeSRV    uint16 = 33
	TypeNAPTR  uint16 = 35
	TypeKX     uint16 = 36
	TypeDNAME  uint16 = 39
	TypeOPT    uint16 = 41
	TypeDS     uint16 = 43
	TypeRRSIG  uint16 = 46
	TypeNSEC   uint16 = 47
	TypeDNSKEY uint16 = 48
	TypeNSEC3  uint16 = 50
	TypeSVCB   uint16 = 64
	TypeHTTPS  uint16 = 65
	TypeANY    uint16 = 255
	ClassIN    uint16 = 1
	ClassANY   uint16 = 255
)

// Response codes (RFC 1035 section 4.1.1); those over 15 need EDNS (RFC 6891).
const (
	RcodeSuccess  uint16 = 0
	RcodeFormat   uint16 = 1
	RcodeServFail uint16 = 2
	RcodeNXDomain uint16 = 3
	RcodeNotImpl  uint16 = 4
	RcodeRefused  uint16 = 5
	RcodeBadVers  uint16 = 16
)

// Codes of extended errors (RFC 8914 section 4) that a router has a use for.
const (
	EDEOther         uint16 = 0  // none of the others; the text says it
	EDEStale         uint16 = 3  // a stale answer
	EDEForged        uint16 = 4  // changed by policy
	EDECachedError   uint16 = 13 // it failed a moment ago
	EDEBlocked       uint16 = 15 // blocked by the operator
	EDEFiltered      uint16 = 17 // filtered as the client asked
	EDEStaleNXDomain uint16 = 19
	EDENoAuthority   uint16 = 22 // no upstream answered
	EDENetwork       uint16 = 23 // the network did not carry the question
)

// What a query can be wrong in, told apart by what must be answered.
var (
	ErrIgnore  = errors.New("not a query")                  // nothing is answered
	ErrFormat  = errors.New("malformed query")              // FORMERR
	ErrOpcode  = errors.New("opcode not supported")         // NOTIMP
	ErrVersion = errors.New("EDNS version not supported")   // BADVERS
	ErrName    = errors.New("name is not a domain name")    // of a name that a caller gave
	ErrReply   = errors.New("message answers another name") // of Adopt and FromStored
)

// What a response can be wrong in.
var (
	ErrMalformed = errors.New("malformed response")
	ErrMismatch  = errors.New("response to another question")
	ErrCase      = errors.New("response changes the question's letter case")
	ErrChain     = errors.New("more than 11 CNAME records")
	ErrTooLong   = errors.New("message over 65535 octets")
)

// Bits of the header's third and fourth octet (RFC 1035 section 4.1.1, RFC 4035).
const (
	bitQR = 0x80
	bitAA = 0x04
	bitTC = 0x02
	bitRD = 0x01
	bitRA = 0x80
	bitAD = 0x20
	bitCD = 0x10
	bitDO = 0x80 // of the third octet of OPT's TTL (RFC 3225)
)

// Offsets of the header's counts.
const (
	atQD = 4
	atAN = 6
	atNS = 8
	atAR = 10
)

func get16(b []byte, at int) uint16 { return uint16(b[at])<<8 | uint16(b[at+1]) }

func get32(b []byte, at int) uint32 { return uint32(get16(b, at))<<16 | uint32(get16(b, at+2)) }

func put16(b []byte, at int, v uint16) { b[at], b[at+1] = byte(v>>8), byte(v) }
