package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// literalsToTheNode sends everything without a name through the node, so that
// its servers can be compared in what they see.
var literalsToTheNode = lab.Config{Default: "node"}

// exchange sends a datagram from a socket and gives the answer, which must be
// from where it was sent to, as a program with one socket for many peers sees it.
func exchange(t *testing.T, conn *net.UDPConn, to netip.AddrPort, text string) (seen netip.AddrPort) {
	t.Helper()
	_, err := conn.WriteToUDPAddrPort([]byte(text), to)
	ok(t, err)
	answer, from := receive(t, conn)
	if from != to {
		t.Fatalf("the answer to %q came from %s, want from %s", text, from, to)
	}
	seen, err = echoed(answer, text)
	ok(t, err)
	return seen
}

func receive(t *testing.T, conn *net.UDPConn) (text string, from netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 4096)
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	ok(t, err)
	return string(buf[:n]), at(from.Addr().Unmap(), from.Port())
}

// With a mark on the sockets that answer, the conntrack entry of the client's
// flow would be marked as ours, and its second or third datagram would leave
// past the daemon: hence many datagrams on one socket.
func TestEveryDatagramToAFakeAddressIsAnsweredFromThere(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		fake := at(h.address(t, laptop, "www.foreign.example", f), lab.EchoPort)
		conn := h.socket(t, laptop, fake.Addr())
		first := exchange(t, conn, fake, "datagram 0")
		if !h.At.Node.Is(first.Addr()) {
			t.Fatalf("the server saw %s, want the node", first)
		}
		for i := range 20 {
			if seen := exchange(t, conn, fake, fmt.Sprintf("datagram %d", i+1)); seen != first {
				t.Fatalf("datagram %d was seen from %s, the first from %s", i+1, seen, first)
			}
		}
	})
}

func TestEveryDatagramToALiteralAddressIsAnsweredFromThere(t *testing.T) {
	for name, c := range map[string]lab.Config{"through the node": literalsToTheNode, "directly": {}} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, lab.Options{}, c)
			laptop := h.Clients["laptop"]
			eachFamily(t, func(t *testing.T, f family) {
				peer := at(f.of(h.At.Foreign), lab.EchoPort)
				conn := h.socket(t, laptop, peer.Addr())
				first := exchange(t, conn, peer, "datagram 0")
				for i := range 20 {
					if seen := exchange(t, conn, peer, fmt.Sprintf("datagram %d", i+1)); seen != first {
						t.Fatalf("datagram %d was seen from %s, the first from %s", i+1, seen, first)
					}
				}
			})
		})
	}
}

// What STUN needs (RFC 4787, REQ-1): whoever the client talks to from a socket
// sees the same address.
func TestLiteralPeersOfOneSocketShareAMapping(t *testing.T) {
	h := newHome(t, lab.Options{}, literalsToTheNode)
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		peers := []netip.AddrPort{
			at(f.of(h.At.Domestic), lab.EchoPort), at(f.of(h.At.Foreign), lab.EchoPort), at(f.of(h.At.Shared), lab.EchoPort),
		}
		conn, other := h.socket(t, laptop, peers[0].Addr()), h.socket(t, laptop, peers[0].Addr())
		first := exchange(t, conn, peers[0], "hello")
		for _, peer := range peers[1:] {
			if seen := exchange(t, conn, peer, "hello"); seen != first {
				t.Errorf("%s saw %s, another peer of the same socket saw %s", peer, seen, first)
			}
		}
		if seen := exchange(t, other, peers[0], "hello"); seen == first {
			t.Errorf("two sockets of the client were both seen as %s", seen)
		}
	})
}

// Likewise REQ-8: who learned that address from somebody else may use it.
func TestAStrangerReachesTheMappingOfASocket(t *testing.T) {
	h := newHome(t, lab.Options{}, literalsToTheNode)
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		conn := h.socket(t, laptop, f.of(h.At.Foreign))
		mapping := exchange(t, conn, at(f.of(h.At.Foreign), lab.EchoPort), "hello")
		stranger, err := h.Internet.ListenUDP(at(f.of(h.At.Shared), 4444))
		ok(t, err)
		defer stranger.Close()
		_, err = stranger.WriteToUDPAddrPort([]byte("knock"), mapping)
		ok(t, err)
		text, from := receive(t, conn)
		if text != "knock" || from != at(f.of(h.At.Shared), 4444) {
			t.Errorf("received %q from %s, want \"knock\" from the stranger", text, from)
		}
	})
}

// A node may resolve two names to one address; its answers could not be told
// apart in one mapping.
func TestFakePeersHaveAMappingEach(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		one := at(h.address(t, laptop, "one.foreign.example", f), lab.EchoPort)
		two := at(h.address(t, laptop, "two.foreign.example", f), lab.EchoPort)
		conn := h.socket(t, laptop, one.Addr())
		seenOne, seenTwo := exchange(t, conn, one, "hello"), exchange(t, conn, two, "hello")
		if seenOne == seenTwo {
			t.Errorf("both names' servers saw %s, want two addresses", seenOne)
		}
		if again := exchange(t, conn, one, "hello"); again != seenOne {
			t.Errorf("the first name's server saw %s, before %s", again, seenOne)
		}
	})
}

func TestALargeDatagramArrivesWhole(t *testing.T) {
	h := newHome(t, lab.Options{}, literalsToTheNode)
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		payload := make([]byte, 1200) // what QUIC sends (RFC 9000, section 14)
		for i := range payload {
			payload[i] = byte('a' + i%26)
		}
		conn := h.socket(t, laptop, f.of(h.At.Foreign))
		exchange(t, conn, at(f.of(h.At.Foreign), lab.EchoPort), string(payload))
	})
}

// heard sends a datagram on a connected socket and gives the error that comes
// back. The kernel limits how many ICMP errors it sends, so a client that
// hears nothing sends again, as they all do.
func heard(conn *net.UDPConn) error {
	const again = 500 * time.Millisecond
	buf := make([]byte, 64)
	for deadline := time.Now().Add(soon); ; {
		if _, err := conn.Write([]byte("hello")); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(again))
		if _, err := conn.Read(buf); err == nil || !isTimeout(err) || time.Now().After(deadline) {
			return err
		}
	}
}

func TestUDPThatIsRefusedByARuleHearsSo(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Rules: `
config rule 'noecho'
	list port '7'
	list proto 'udp'
	option outbound 'reject'
config rule 'foreign'
	list domain 'foreign.example'
	option outbound 'node'
`})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		for what, addr := range map[string]netip.Addr{
			"a fake address": h.address(t, laptop, "www.foreign.example", f), "a literal address": f.of(h.At.Foreign),
		} {
			if err := heard(h.dialUDP(t, laptop, at(addr, lab.EchoPort))); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: got %v, want connection refused", what, err)
			}
		}
	})
}

func TestUDPToADeadNodeHearsSo(t *testing.T) {
	h := newHome(t, lab.Options{}, literalsToTheNode)
	laptop := h.Clients["laptop"]
	ok(t, h.StopNode())
	eachFamily(t, func(t *testing.T, f family) {
		for what, addr := range map[string]netip.Addr{
			"a fake address": h.address(t, laptop, "www.foreign.example", f), "a literal address": f.of(h.At.Foreign),
		} {
			if err := heard(h.dialUDP(t, laptop, at(addr, lab.EchoPort))); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: got %v, want connection refused", what, err)
			}
		}
	})
}

// A node that comes back is used again by a socket that had given it up.
func TestUDPGoesOnWhenTheNodeIsBack(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	fake := at(h.address(t, laptop, "www.foreign.example", families[0]), lab.EchoPort)
	conn := h.socket(t, laptop, fake.Addr())
	exchange(t, conn, fake, "before")
	ok(t, h.StopNode())
	ok(t, h.StartNode())
	began := time.Now()
	buf := make([]byte, 64)
	until(t, soon, "an answer through the new node", func() bool {
		conn.WriteToUDPAddrPort([]byte("after"), fake)
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _, err := conn.ReadFromUDPAddrPort(buf)
		return err == nil
	})
	t.Logf("took %v", time.Since(began))
}

// UDP of a direct flow must never leave with the client's own address.
func TestRelayedDatagramsLeaveWithTheRoutersAddress(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	capture, err := h.CaptureWAN()
	ok(t, err)
	laptop := h.Clients["laptop"]
	peer := at(h.At.Foreign.V4, lab.EchoPort)
	conn := h.socket(t, laptop, peer.Addr())
	for i := range 5 {
		exchange(t, conn, peer, fmt.Sprint("datagram ", i))
	}
	packets, err := capture.Packets()
	ok(t, err)
	seen := 0
	for _, p := range packets {
		s, decoded := p.Segment()
		if !decoded || s.Proto != nstest.UDP || s.Dst != peer {
			continue
		}
		seen++
		if s.Src.Addr() != h.At.RouterWAN.V4 {
			t.Errorf("a datagram left with the source %s", s.Src)
		}
	}
	if seen < 5 {
		t.Errorf("captured %d datagrams to %s, want at least 5", seen, peer)
	}
}
