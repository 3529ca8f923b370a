package outbound

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func receives(t *testing.T, c net.Conn, want string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, len(want)+1)
	if n, err := c.Read(b); err != nil || string(b[:n]) != want {
		t.Fatalf("read %q, %v; want %q", b[:n], err, want)
	}
}

func TestANameIsInTheHeaderOfEachDatagram(t *testing.T) {
	node := &testNode{answer: func(_, payload []byte) [][]byte {
		return [][]byte{wire(t, "", netip.MustParseAddrPort("198.51.100.9:443"), string(payload)+" answered")}
	}}
	c, err := node.start(t).DialUDP(soon(t), "quic.example", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 3 {
		text := fmt.Sprint("datagram ", i)
		if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("Write = %d, %v; want %d", n, err, len(text))
		}
		if got, want := <-node.sent, wire(t, "quic.example", somewhere, ""); !bytes.Equal(got, want) {
			t.Errorf("the header is % x, want % x", got, want)
		}
		receives(t, c, text+" answered")
	}
}

func TestOneMappingServesManyPeers(t *testing.T) {
	node := &testNode{}
	c, err := node.start(t).ListenUDP(soon(t), false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	for _, peer := range []string{"192.0.2.1:53", "192.0.2.2:123", "[2001:db8::1]:443", "[::ffff:192.0.2.3]:9"} {
		to := netip.MustParseAddrPort(peer)
		want := netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		if _, err := c.WriteToUDPAddrPort([]byte(peer), to); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil || from != want || string(b[:n]) != peer {
			t.Errorf("read %q from %v, %v; want %q from %v", b[:n], from, err, peer, want)
		}
	}
	if got := len(node.asked); got != 1 {
		t.Errorf("the node was asked for %d mappings, want 1", got)
	}
}

func TestWhatIsNoWholeDatagramOfTheRelayIsIgnored(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:53")
	good := wire(t, "", peer, "good")
	fragment := bytes.Clone(good)
	fragment[2] = 1
	node := &testNode{answer: func(_, _ []byte) [][]byte {
		return [][]byte{
			fragment, {}, {0}, {0, 0, 0}, {0, 0, 0, 1, 192, 0, 2, 1, 0}, {0, 0, 0, 7, 1, 2, 3, 4, 0, 80, 'x'},
			{0, 0, 0, 3, 0, 0, 80, 'x'}, wire(t, "a.name", peer, "by name"), good,
		}
	}}
	c, err := node.start(t).ListenUDP(soon(t), false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	c.WriteToUDPAddrPort([]byte("ask"), peer)
	b := make([]byte, 100)
	if n, from, err := c.ReadFromUDPAddrPort(b); err != nil || from != peer || string(b[:n]) != "good" {
		t.Errorf("read %q from %v, %v; want good from %v", b[:n], from, err, peer)
	}
}

func TestDatagramsOfStrangersAreIgnored(t *testing.T) {
	node := &testNode{}
	c, err := node.start(t).DialUDP(soon(t), "", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.WriteTo(wire(t, "", somewhere, "forged"), c.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("asked"))
	receives(t, c, "asked")
}

func TestAnUnspecifiedRelayIsAtTheNode(t *testing.T) {
	for _, unspecified := range []string{"0.0.0.0", "::"} {
		node := &testNode{bound: func(relay netip.AddrPort) []byte {
			b, _ := appendEndpoint(nil, "", netip.AddrPortFrom(netip.MustParseAddr(unspecified), relay.Port()))
			return b
		}}
		c, err := node.start(t).DialUDP(soon(t), "example.com", somewhere)
		if err != nil {
			t.Fatalf("%s: %v", unspecified, err)
		}
		c.Write([]byte("hello"))
		receives(t, c, "hello")
		c.Close()
	}
}

func TestARelayGivenByNameIsAnError(t *testing.T) {
	node := &testNode{bound: func(relay netip.AddrPort) []byte {
		b, _ := appendEndpoint(nil, "relay.example", relay)
		return b
	}}
	_, err := node.start(t).DialUDP(soon(t), "example.com", somewhere)
	if err == nil || !strings.Contains(err.Error(), "relay.example") {
		t.Errorf("DialUDP = %v, want an error that names relay.example", err)
	}
}

func TestReadingFailsOnceTheNodeHasEndedTheAssociation(t *testing.T) {
	node := &testNode{}
	s := node.start(t)
	one, err := s.DialUDP(soon(t), "example.com", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	many, err := s.ListenUDP(soon(t), false)
	if err != nil {
		t.Fatal(err)
	}
	defer many.Close()
	node.die()
	one.SetReadDeadline(time.Now().Add(patience))
	if _, err := one.Read(make([]byte, 9)); !errors.Is(err, ErrAssociationEnded) {
		t.Errorf("Read = %v, want %v", err, ErrAssociationEnded)
	}
	if _, err := one.Write([]byte("x")); !errors.Is(err, ErrAssociationEnded) {
		t.Errorf("Write = %v, want %v", err, ErrAssociationEnded)
	}
	many.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := many.ReadFromUDPAddrPort(make([]byte, 9)); !errors.Is(err, ErrAssociationEnded) {
		t.Errorf("ReadFromUDPAddrPort = %v, want %v", err, ErrAssociationEnded)
	}
}

func TestClosingGivesTheMappingBack(t *testing.T) {
	node := &testNode{}
	c, err := node.start(t).DialUDP(soon(t), "example.com", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close = %v, want none", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close = %v, want %v", err, net.ErrClosed)
	}
	select {
	case <-node.released:
	case <-time.After(patience):
		t.Fatal("the node still has the mapping")
	}
}

func TestAReadDeadlineEndsAWait(t *testing.T) {
	node := &testNode{}
	c, err := node.start(t).DialUDP(soon(t), "example.com", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %v, want %v", err, os.ErrDeadlineExceeded)
	}
}

func TestPayloadsOfAnySizeFitABufferOfTheirSize(t *testing.T) {
	const largest = 65507 - (3 + 2 + len("example.com") + 2) // of UDP over IPv4, less the header
	node := &testNode{}
	c, err := node.start(t).DialUDP(soon(t), "example.com", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	for _, size := range []int{0, 1, 11, 512, 1200, 1472, 9000, largest} {
		sent, got := make([]byte, size), make([]byte, size)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(got); n != size || err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes: read %d, %v", size, n, err)
		}
	}
	if _, err := c.Write(make([]byte, largest+1)); err == nil {
		t.Errorf("%d bytes: no error", largest+1)
	}
}

func BenchmarkUDPThroughNode(b *testing.B) {
	node := &testNode{}
	c, err := node.start(b).DialUDP(soon(b), "example.com", somewhere)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 1200)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		c.Write(buf)
		c.Read(buf)
		<-node.sent
	}
}

func BenchmarkDialThroughNode(b *testing.B) {
	node := &testNode{}
	s := node.start(b)
	ctx := soon(b)
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.DialTCP(ctx, "example.com", somewhere)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
		<-node.asked
	}
}
