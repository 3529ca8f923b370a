package leaks

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// Ports that carry names (RFC 1035, 7858 and 9250, 6762, 4795, 1002).
const (
	portDNS     = 53
	portDoT     = 853
	portMDNS    = 5353
	portLLMNR   = 5355
	portNetBIOS = 137
)

// Flow is bytes that passed in one direction: a datagram, a direction of a TCP
// connection put in order, or another packet. It is never empty.
type Flow struct {
	Time     time.Time
	Proto    uint8
	Src, Dst netip.AddrPort
	Data     []byte
}

// Carries tells whether a port is one of the flow's.
func (f Flow) Carries(port uint16) bool { return f.Src.Port() == port || f.Dst.Port() == port }

// answering tells whether the bytes are from the server: its port is the lower.
func (f Flow) answering() bool { return f.Src.Port() < f.Dst.Port() }

// Finding is that the flow went a way, for a reason.
func (f Flow) Finding(way Way, reason string) Finding {
	return Finding{Time: f.Time, Way: way, Proto: f.Proto, Src: f.Src, Dst: f.Dst, Response: f.answering(), Reason: reason}
}

// Message is a DNS message as far as it is looked at.
type Message struct {
	Name     string // of the only question, as wire.Query.Name has it
	Type     uint16
	Response bool
	Raw      []byte
}

// Finding is that a message of a flow went a way, for a reason.
func (m Message) Finding(f Flow, way Way, reason string) Finding {
	found := f.Finding(way, reason)
	found.Response, found.Name, found.Type = m.Response, m.Name, m.Type
	return found
}

func readMessage(b []byte) (Message, bool) {
	var text [wire.MaxText]byte
	name, typ, ok := wire.AppendQuestion(text[:0], b)
	return Message{Name: string(name), Type: typ, Response: wire.IsResponse(b), Raw: b}, ok
}

// Messages cuts bytes of the flow into DNS messages: one in a datagram, framed
// ones in a stream (RFC 1035 section 4.2.2). What cannot be read from there on is
// left as rest.
func (f Flow) Messages(b []byte) (all []Message, rest []byte) {
	if f.Proto != TCP {
		m, ok := readMessage(b)
		if !ok {
			return nil, b
		}
		return []Message{m}, nil
	}
	for len(b) > 0 {
		raw, ok := firstFrame(b)
		if !ok {
			return all, b
		}
		m, ok := readMessage(raw)
		if !ok {
			return all, b
		}
		all, b = append(all, m), b[2+len(raw):]
	}
	return all, nil
}

// firstFrame is the first message of a stream; ok is false if it is cut.
func firstFrame(b []byte) (raw []byte, ok bool) {
	if len(b) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, false
	}
	return b[2 : 2+n], true
}

// Judge says which way a message in the clear has gone, and why, as a phrase.
type Judge func(f Flow, m Message) (Way, string)

// Sort sorts what passes the ports that carry names. ok is false where the flow
// is none of them.
func Sort(f Flow, judge Judge) (all []Finding, ok bool) {
	switch {
	case f.Carries(portDNS):
		return Plain(f, judge), true
	case f.Carries(portDoT):
		return []Finding{secure(f)}, true
	case f.Carries(portMDNS), f.Carries(portLLMNR), f.Carries(portNetBIOS):
		return ofTheLink(f)
	}
	return nil, false
}

// Plain sorts what passes a port of DNS in the clear.
func Plain(f Flow, judge Judge) (all []Finding) {
	messages, rest := f.Messages(f.Data)
	for _, m := range messages {
		way, reason := judge(f, m)
		all = append(all, m.Finding(f, way, reason))
	}
	if len(rest) > 0 {
		all = append(all, f.Finding(Leak, fmt.Sprintf("%d bytes on port %d that are no DNS message", len(rest), f.Dst.Port())))
	}
	return all
}

// secure sorts what passes port 853: TLS over TCP, QUIC over UDP.
func secure(f Flow) Finding {
	const quicFixedBit = 0x40 // RFC 9000, section 17
	switch {
	case f.Proto == TCP && isTLS(f.Data):
		return f.Finding(Encrypted, "TLS on port 853")
	case f.Proto == UDP && f.Data[0]&quicFixedBit != 0:
		return f.Finding(Encrypted, "QUIC on port 853")
	}
	return f.Finding(Leak, "neither TLS nor QUIC on port 853")
}

// isLaterQUIC tells packets with a short header, which only follow others (RFC
// 9000 section 17.3).
func isLaterQUIC(b []byte) bool {
	const form, fixed = 0x80, 0x40
	return len(b) > 0 && b[0]&(form|fixed) == fixed
}

// isTLS tells whether bytes begin with a record (RFC 8446, section 5.1).
func isTLS(b []byte) bool {
	const changeCipherSpec, applicationData, majorVersion = 20, 23, 3
	return len(b) > 1 && b[0] >= changeCipherSpec && b[0] <= applicationData && b[1] == majorVersion
}

// ofTheLink sorts protocols whose names are of the local link. Their ports may
// be anybody's: only what is such a message counts.
func ofTheLink(f Flow) (all []Finding, ok bool) {
	m, ok := readMessage(f.Data)
	if !ok {
		return nil, false
	}
	return []Finding{m.Finding(f, Leak, "names of the local link leave it")}, true
}
