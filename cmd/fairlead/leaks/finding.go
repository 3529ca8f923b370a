// Package leaks watches what leaves a router by its WAN, and sorts every DNS
// question among it: direct, encrypted, through an outbound, of the router's own
// programs, or a leak.
//
// [Sort] judges bytes that are known already, as those of the lab's captures; a
// [Monitor] captures for itself.
package leaks

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// Way is how a DNS message passed the WAN.
type Way string

// The ways. Leak is the one that should not be.
const (
	Direct    Way = "direct"    // in the clear: a name that leaves directly
	Encrypted Way = "encrypted" // the name cannot be seen
	Node      Way = "node"      // inside the connection to the node, or out by the interface that the name takes
	Router    Way = "router"    // in the clear: of a program of this router, whose traffic is not ours to decide
	Leak      Way = "leak"
)

// Transports (IANA protocol numbers).
const (
	TCP = 6
	UDP = 17
)

// Finding is a DNS message, or what should be one, that passed the WAN.
type Finding struct {
	Time     time.Time
	Way      Way
	Proto    uint8 // TCP, UDP, or another
	Src, Dst netip.AddrPort
	Response bool
	Name     string // empty where none can be read
	Type     uint16
	Reason   string        // why it is sorted so, as a phrase
	Sender   policy.Device // who sent it, as far as that is known
}

// String is all that the finding says, for the messages of tests.
func (f Finding) String() string {
	what := "question"
	if f.Response {
		what = "answer"
	}
	return fmt.Sprintf("%s: %s %s %s from %s to %s: %s", f.Way, what, f.Name, TypeName(f.Type), f.Src, f.Dst, f.Reason)
}

// Line is the finding as people read it: the same for each message of a kind.
func (f Finding) Line() string {
	name := f.Name
	if name == "" {
		name = "(cannot be seen)"
	}
	return fmt.Sprintf("%-9s %-21s to %-16s %s", strings.ToUpper(string(f.Way)), name, f.Dst.Addr(), f.Reason)
}

// TypeName is a record type as zone files write it; types without a name are
// TYPEn (RFC 3597 section 5).
func TypeName(t uint16) string {
	switch t {
	case 1:
		return "A"
	case 2:
		return "NS"
	case 6:
		return "SOA"
	case 12:
		return "PTR"
	case 15:
		return "MX"
	case 16:
		return "TXT"
	case 28:
		return "AAAA"
	case 33:
		return "SRV"
	case 64:
		return "SVCB"
	case 65:
		return "HTTPS"
	}
	return fmt.Sprintf("TYPE%d", t)
}
