package nstest_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

func TestCaptureHasEveryDatagramSentBeforeTheCall(t *testing.T) {
	a, b := pair(t)
	capture, err := nstest.Start(a, "eth0")
	ok(t, err)
	defer capture.Close()
	for _, to := range []string{"192.0.2.2:9", "[2001:db8::2]:9"} {
		sink, err := b.ListenUDP(netip.MustParseAddrPort(to))
		ok(t, err)
		defer sink.Close()
		c, err := a.Dial(soon(t), "udp", netip.AddrPort{}, netip.MustParseAddrPort(to))
		ok(t, err)
		defer c.Close()
		// Neighbours are asked for first; until they answer, few datagrams are kept.
		c.Write([]byte("first"))
		sink.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = sink.Read(make([]byte, 10))
		ok(t, err)
		const count = 300
		for i := range count {
			fmt.Fprintf(c, "datagram %d", i)
		}
		packets, err := capture.Packets()
		ok(t, err)
		got := 0
		for _, p := range packets {
			s, decoded := p.Segment()
			if decoded && s.Proto == nstest.UDP && s.Dst.String() == to && s.Src.String() == c.LocalAddr().String() &&
				bytes.Equal(s.Payload, fmt.Appendf(nil, "datagram %d", got)) && p.Outgoing {
				got++
			}
		}
		if got != count {
			t.Errorf("captured %d datagrams to %s in order, want %d", got, to, count)
		}
	}
}

func TestCaptureShowsTheBytesOfAConnection(t *testing.T) {
	a, b := pair(t)
	capture, err := nstest.Start(b, "eth0")
	ok(t, err)
	defer capture.Close()
	at := netip.MustParseAddrPort("192.0.2.2:80")
	l, err := b.ListenTCP(at)
	ok(t, err)
	defer l.Close()
	c, err := a.Dial(soon(t), "tcp", netip.AddrPort{}, at)
	ok(t, err)
	defer c.Close()
	io.WriteString(c, "hello")

	p, err := capture.Wait(soon(t), func(p nstest.Packet) bool {
		s, ok := p.Segment()
		return ok && s.Proto == nstest.TCP && string(s.Payload) == "hello"
	})
	ok(t, err)
	if s, _ := p.Segment(); s.Dst != at || s.Flags&nstest.ACK == 0 || p.Outgoing {
		t.Errorf("segment to %s, flags %#x, outgoing %v; want to %s, with ACK, incoming", s.Dst, s.Flags, p.Outgoing, at)
	}
}

func TestClosedCaptureKeepsItsPackets(t *testing.T) {
	a, _ := pair(t)
	capture, err := nstest.Start(a, "eth0")
	ok(t, err)
	c, err := a.Dial(soon(t), "udp", netip.AddrPort{}, netip.MustParseAddrPort("192.0.2.2:9"))
	ok(t, err)
	defer c.Close()
	c.Write([]byte("last words")) // an ARP request at least
	ok(t, capture.Close())
	ok(t, capture.Close())
	if packets, err := capture.Packets(); err != nil || len(packets) == 0 {
		t.Errorf("Packets = %d, %v; want some", len(packets), err)
	}
}

func TestMarkersAreNotAmongThePackets(t *testing.T) {
	a, _ := pair(t)
	one, err := nstest.Start(a, "eth0")
	ok(t, err)
	defer one.Close()
	other, err := nstest.Start(a, "eth0")
	ok(t, err)
	defer other.Close()
	for range 3 {
		for _, c := range []*nstest.Capture{one, other} {
			packets, err := c.Packets()
			ok(t, err)
			for _, p := range packets {
				if etherType := binary.BigEndian.Uint16(p.Frame[12:]); etherType == 0x88b5 {
					t.Fatalf("captured a marker: %x", p.Frame)
				}
			}
		}
	}
}

func FuzzSegmentStaysWithinTheFrame(f *testing.F) {
	v4 := append(make([]byte, 12), 0x08, 0x00, 0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2, 0, 9, 0, 0, 'x')
	v6 := append(append(append(make([]byte, 12), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 17, 0, 64), make([]byte, 32)...), 17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 9, 0, 0, 'x')
	f.Add(v4)
	f.Add(v6)
	f.Fuzz(func(t *testing.T, frame []byte) {
		s, ok := nstest.Packet{Frame: frame}.Segment()
		if ok && !bytes.HasSuffix(frame, s.Payload) && !bytes.Contains(frame, s.Payload) {
			t.Errorf("payload %x is not part of the frame %x", s.Payload, frame)
		}
	})
}
