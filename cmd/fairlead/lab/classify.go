package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

// Way is how a DNS message passed the WAN.
type Way string

// The ways. All but Leak are as they should be.
const (
	Direct    Way = "direct"    // in the clear: an allowed name, asked of an allowed server
	Encrypted Way = "encrypted" // the name cannot be seen
	Node      Way = "node"      // inside the connection to the node
	Leak      Way = "leak"
)

// Finding is a DNS message, or a canary, that passed the WAN.
type Finding struct {
	Time     time.Time
	Way      Way
	Proto    uint8 // nstest.UDP or nstest.TCP; other where a canary was found elsewhere
	Src, Dst netip.AddrPort
	Response bool
	Name     string // empty where none can be read
	Type     uint16
	Reason   string // why it is sorted so, as a phrase
}

func (f Finding) String() string {
	what := "question"
	if f.Response {
		what = "answer"
	}
	return fmt.Sprintf("%s: %s %s %s from %s to %s: %s", f.Way, what, f.Name, typeName(f.Type), f.Src, f.Dst, f.Reason)
}

// Leaks is those of the findings that are leaks.
func Leaks(all []Finding) (leaks []Finding) {
	for _, f := range all {
		if f.Way == Leak {
			leaks = append(leaks, f)
		}
	}
	return leaks
}

// Sorter tells what may pass the WAN from what may not, by the packets alone.
type Sorter struct {
	Names   []string     // that may be asked in the clear, with all their subdomains
	Servers []netip.Addr // whom they may be asked of
	// Inside tells whether a socket address is the node's, where all that
	// passes is inside its connection.
	Inside func(proto uint8, at netip.AddrPort) bool
	// Canaries are labels that nobody but the client knows. Anywhere outside
	// the node's connection, in whatever protocol, one is a leak.
	Canaries []string
}

// Sorter is the one for ConfigText: domestic.example may be asked of the ISP.
func (w *World) Sorter(canaries ...string) Sorter {
	return Sorter{
		Names:    []string{"domestic.example"},
		Servers:  []netip.Addr{w.At.ISP.V4, w.At.ISP.V6},
		Inside:   w.proxy.inside,
		Canaries: canaries,
	}
}

// Classify sorts every DNS message and every canary among the packets, in the
// order of their beginnings. Packets that carry neither give no finding.
func (s Sorter) Classify(packets []nstest.Packet) []Finding {
	var all []Finding
	for _, f := range flows(packets) {
		switch {
		case s.inside(f):
			all = append(all, s.insideNode(f)...)
		case f.carries(portDNS):
			all = append(all, s.plain(f)...)
		case f.carries(portDoT):
			all = append(all, s.secure(f))
		case f.carries(portMDNS), f.carries(portLLMNR), f.carries(portNetBIOS):
			all = append(all, f.finding(Leak, "names of the local link leave it"))
		default:
			all = append(all, s.canaries(f)...)
		}
	}
	return all
}

// Ports that carry names (RFC 1035, 7858 and 9250, 6762, 4795, 1002).
const (
	portDNS     = 53
	portDoT     = 853
	portMDNS    = 5353
	portLLMNR   = 5355
	portNetBIOS = 137
)

func (s Sorter) inside(f flow) bool {
	return s.Inside != nil && (s.Inside(f.proto, f.src) || s.Inside(f.proto, f.dst))
}

// plain sorts what passes port 53.
func (s Sorter) plain(f flow) (all []Finding) {
	messages, rest := f.messages(f.data)
	for _, m := range messages {
		way, reason := s.judge(f, m)
		all = append(all, m.finding(f, way, reason))
	}
	if len(rest) > 0 {
		all = append(all, f.finding(Leak, fmt.Sprintf("%d bytes on port 53 that are no DNS message", len(rest))))
	}
	return all
}

// judge sorts one message in the clear.
func (s Sorter) judge(f flow, m located) (Way, string) {
	server := f.dst.Addr()
	if m.response() {
		server = f.src.Addr()
	}
	allowed := false
	for _, a := range s.Servers {
		allowed = allowed || a == server
	}
	switch {
	case !matches(m.name, s.Names):
		return Leak, fmt.Sprintf("%s may not be asked in the clear, and was asked of %s", m.name, server)
	case !allowed:
		return Leak, fmt.Sprintf("%s may be asked in the clear, but not of %s", m.name, server)
	case s.canaryIn(m.raw) != "":
		return Leak, fmt.Sprintf("%s in the clear to %s", s.canaryIn(m.raw), server)
	}
	return Direct, fmt.Sprintf("%s may be asked of %s in the clear", m.name, server)
}

// secure sorts what passes port 853: TLS over TCP, QUIC over UDP.
func (s Sorter) secure(f flow) Finding {
	const quicFixedBit = 0x40 // RFC 9000, section 17
	switch {
	case s.canaryIn(f.data) != "":
		return f.finding(Leak, s.canaryIn(f.data)+" can be read on port 853")
	case f.proto == nstest.TCP && isTLS(f.data):
		return f.finding(Encrypted, "TLS on port 853")
	case f.proto == nstest.UDP && f.data[0]&quicFixedBit != 0:
		return f.finding(Encrypted, "QUIC on port 853")
	}
	return f.finding(Leak, "neither TLS nor QUIC on port 853")
}

// isTLS tells whether bytes begin with a record (RFC 8446, section 5.1).
func isTLS(b []byte) bool {
	const changeCipherSpec, applicationData, majorVersion = 20, 23, 3
	return len(b) > 1 && b[0] >= changeCipherSpec && b[0] <= applicationData && b[1] == majorVersion
}

// insideNode finds the DNS messages and canaries in the node's connection.
func (s Sorter) insideNode(f flow) (all []Finding) {
	target, carried := f.carried()
	if target.Port() == portDNS {
		messages, _ := f.messages(carried)
		for _, m := range messages {
			all = append(all, m.finding(f, Node, fmt.Sprintf("inside the node's connection, to %s", target)))
		}
	}
	if all == nil && s.canaryIn(f.data) != "" {
		all = append(all, f.finding(Node, s.canaryIn(f.data)+" inside the node's connection"))
	}
	return all
}

// canaries finds canaries in anything else.
func (s Sorter) canaries(f flow) []Finding {
	if label := s.canaryIn(f.data); label != "" {
		return []Finding{f.finding(Leak, fmt.Sprintf("%s can be read on the way to %s", label, f.dst))}
	}
	return nil
}

// canaryIn is the canary in some bytes, as text or as the label of a name on
// the wire, which is the same text behind its length; case does not count.
func (s Sorter) canaryIn(b []byte) string {
	if len(s.Canaries) == 0 {
		return ""
	}
	low := bytes.ToLower(b)
	for _, label := range s.Canaries {
		if bytes.Contains(low, bytes.ToLower([]byte(label))) {
			return label
		}
	}
	return ""
}
