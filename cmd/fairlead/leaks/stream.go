package leaks

import "net/netip"

const (
	// maxStreams bounds the TCP connections that are followed at once.
	maxStreams = 256
	// maxStream is how much of one is held until its message is complete. A
	// question is much shorter.
	maxStream = 4 << 10
)

// tuple is the ends of a packet's flow.
type tuple struct {
	proto    uint8
	src, dst netip.AddrPort
}

func (p packet) tuple() tuple { return tuple{p.Proto, p.Src, p.Dst} }

// streams puts TCP connections together from their segments, as far as these
// come in order. Those whose beginning was not seen are passed over: a piece of
// a message says nothing.
type streams struct{ open map[tuple]*stream }

// stream is one connection, in our direction.
type stream struct {
	next uint32 // sequence number
	held []byte
	told bool // its beginning was handed over; it is TLS
}

// add takes a segment and gives what can be sorted now; ok is false if nothing can.
func (s *streams) add(p packet) (f Flow, ok bool) {
	t := p.tuple()
	if p.syn {
		s.begin(t, p.seq+1) // a SYN counts as a byte (RFC 9293, section 3.4)
		return Flow{}, false
	}
	open := s.open[t]
	if open == nil || len(p.Data) == 0 || open.told {
		return Flow{}, false
	}
	fresh := int32(p.seq - open.next)
	again := int(-fresh)
	switch {
	case fresh > 0: // a hole: the kernel had no room, or they overtook each other
		delete(s.open, t)
		return Flow{}, false
	case again >= len(p.Data):
		return Flow{}, false // sent again
	}
	open.next = p.seq + uint32(len(p.Data))
	open.held = append(open.held, p.Data[again:]...)
	return s.complete(t, open, p.Flow)
}

// begin follows a new connection; one of those that are open makes room.
func (s *streams) begin(t tuple, next uint32) {
	if s.open == nil {
		s.open = make(map[tuple]*stream)
	}
	if len(s.open) >= maxStreams {
		for other := range s.open {
			delete(s.open, other)
			break
		}
	}
	s.open[t] = &stream{next: next}
}

// complete gives what is held as soon as it is whole messages, or cannot be any
// more.
func (s *streams) complete(t tuple, open *stream, f Flow) (Flow, bool) {
	f.Data = open.held
	if f.Carries(portDoT) {
		open.told, open.held = true, nil
		return f, true
	}
	whole := 0
	for {
		raw, ok := firstFrame(open.held[whole:])
		if !ok {
			break
		}
		whole += 2 + len(raw)
	}
	switch {
	case whole > 0:
		f.Data, open.held = open.held[:whole], append([]byte(nil), open.held[whole:]...)
		return f, true
	case len(open.held) > maxStream:
		delete(s.open, t)
		return f, true
	}
	return Flow{}, false
}
