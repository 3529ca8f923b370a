package lab

import (
	"bytes"
	"net/netip"
	"sort"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
	"github.com/fairlead/fairlead/nft/nstest"
)

// carried is the target and the content of what a SOCKS5 client sends, over
// either protocol, or of what comes back over UDP; the target is the zero value
// where it is a name or cannot be told.
func carried(f leaks.Flow) (netip.AddrPort, []byte) {
	r := bytes.NewReader(f.Data)
	if f.Proto == nstest.UDP {
		r.Seek(udpHeaderBase, 0)
	} else if !skipGreeting(r) {
		return netip.AddrPort{}, nil
	}
	target, err := readTarget(r)
	if err != nil {
		return netip.AddrPort{}, nil
	}
	at, err := netip.ParseAddrPort(target)
	if err != nil {
		return netip.AddrPort{}, nil
	}
	return at, f.Data[len(f.Data)-r.Len():]
}

// skipGreeting reads a SOCKS5 client's bytes up to the target of its request.
func skipGreeting(r *bytes.Reader) bool {
	if _, err := readCounted(r, socksVersion); err != nil {
		return false
	}
	if next, err := r.ReadByte(); err != nil || r.UnreadByte() != nil {
		return false
	} else if next == authVersion {
		if _, err := readCounted(r, authVersion); err != nil {
			return false
		}
		if _, err := readString(r); err != nil {
			return false
		}
	}
	head := make([]byte, 3) // version, command, reserved
	n, _ := r.Read(head)
	return n == len(head) && head[0] == socksVersion
}

// flows puts packets together: TCP by connection and direction, all else by
// itself, in the order of their first bytes.
func flows(packets []nstest.Packet) []leaks.Flow {
	var all []leaks.Flow
	streams := make(map[stream]*pieces)
	for _, p := range packets {
		s, ok := p.Segment()
		switch {
		case !ok:
			all = append(all, leaks.Flow{Time: p.Time, Data: p.Frame})
		case s.Proto != nstest.TCP || s.Dst.Port() == 0:
			if len(s.Payload) > 0 {
				all = append(all, leaks.Flow{Time: p.Time, Proto: s.Proto, Src: s.Src, Dst: s.Dst, Data: s.Payload})
			}
		default:
			key := stream{s.Src, s.Dst}
			if streams[key] != nil && s.Flags&nstest.SYN != 0 && s.Seq != streams[key].first {
				all = append(all, streams[key].flows(key)...) // the port pair is used again
				delete(streams, key)
			}
			if streams[key] == nil {
				streams[key] = &pieces{first: s.Seq}
			}
			streams[key].add(p.Time, s)
		}
	}
	for key, pieces := range streams {
		all = append(all, pieces.flows(key)...)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Time.Before(all[j].Time) })
	return all
}

// stream is one direction of a TCP connection.
type stream struct{ src, dst netip.AddrPort }

// pieces is what was captured of a stream.
type pieces struct {
	first uint32 // the first sequence number seen
	all   []piece
}

type piece struct {
	time time.Time
	at   int32 // relative to first
	data []byte
}

func (p *pieces) add(t time.Time, s nstest.Segment) {
	at := int32(s.Seq - p.first)
	if s.Flags&nstest.SYN != 0 {
		at++ // a SYN counts as a byte (RFC 9293, section 3.4)
	}
	if len(s.Payload) > 0 {
		p.all = append(p.all, piece{t, at, s.Payload})
	}
}

// flows is the stream in order and without what was sent twice. Bytes that
// were not captured divide it.
func (p *pieces) flows(key stream) (all []leaks.Flow) {
	sort.SliceStable(p.all, func(i, j int) bool { return p.all[i].at < p.all[j].at })
	var next int32
	for _, piece := range p.all {
		if len(all) == 0 || piece.at > next {
			all = append(all, leaks.Flow{Time: piece.time, Proto: nstest.TCP, Src: key.src, Dst: key.dst})
			next = piece.at
		}
		if again := int(next - piece.at); again < len(piece.data) {
			last := &all[len(all)-1]
			last.Data = append(last.Data, piece.data[again:]...)
			next = piece.at + int32(len(piece.data))
		}
	}
	return all
}
