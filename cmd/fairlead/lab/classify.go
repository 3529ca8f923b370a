package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
	"github.com/fairlead/fairlead/nft/nstest"
)

// Finding is a DNS message, or a canary, that passed the WAN.
type Finding = leaks.Finding

// Leaks is those of the findings that are leaks.
func Leaks(all []Finding) (found []Finding) {
	for _, f := range all {
		if f.Way == leaks.Leak {
			found = append(found, f)
		}
	}
	return found
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
// order of their beginnings, as `fairlead leaks` does. Packets that carry neither
// give no finding.
func (s Sorter) Classify(packets []nstest.Packet) []Finding {
	var all []Finding
	for _, f := range flows(packets) {
		if s.inside(f) {
			all = append(all, s.insideNode(f)...)
			continue
		}
		found, ok := leaks.Sort(f, s.judge)
		if label := s.canaryIn(f.Data); label != "" && !f.Carries(portDNS) {
			found, ok = []Finding{f.Finding(leaks.Leak, fmt.Sprintf("%s can be read on the way to %s", label, f.Dst))}, true
		}
		if ok {
			all = append(all, found...)
		}
	}
	return all
}

const portDNS = 53

func (s Sorter) inside(f leaks.Flow) bool {
	return s.Inside != nil && (s.Inside(f.Proto, f.Src) || s.Inside(f.Proto, f.Dst))
}

// judge sorts one message in the clear.
func (s Sorter) judge(f leaks.Flow, m leaks.Message) (leaks.Way, string) {
	server := f.Dst.Addr()
	if m.Response {
		server = f.Src.Addr()
	}
	switch {
	case !matches(m.Name, s.Names):
		return leaks.Leak, fmt.Sprintf("%s may not be asked in the clear, and was asked of %s", m.Name, server)
	case !slices.Contains(s.Servers, server):
		return leaks.Leak, fmt.Sprintf("%s may be asked in the clear, but not of %s", m.Name, server)
	case s.canaryIn(m.Raw) != "":
		return leaks.Leak, fmt.Sprintf("%s in the clear to %s", s.canaryIn(m.Raw), server)
	}
	return leaks.Direct, fmt.Sprintf("%s may be asked of %s in the clear", m.Name, server)
}

// insideNode finds the DNS messages and canaries in the node's connection.
func (s Sorter) insideNode(f leaks.Flow) (all []Finding) {
	target, content := carried(f)
	if target.Port() == portDNS {
		messages, _ := f.Messages(content)
		for _, m := range messages {
			all = append(all, m.Finding(f, leaks.Node, fmt.Sprintf("inside the node's connection, to %s", target)))
		}
	}
	if all == nil && s.canaryIn(f.Data) != "" {
		all = append(all, f.Finding(leaks.Node, s.canaryIn(f.Data)+" inside the node's connection"))
	}
	return all
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
