package tproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

const deadline = 10 * time.Second // of whatever is waited for

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lan is a router and a client on one link. The router has the addresses of
// the link only; what it answers from are foreign ones.
type lan struct {
	router, client *nstest.NS
	sender         *Sender
}

var (
	client4  = netip.MustParseAddr("192.168.1.50")
	client6  = netip.MustParseAddr("fd00:1::50")
	foreign4 = netip.MustParseAddrPort("203.0.113.5:443")
	foreign6 = netip.MustParseAddrPort("[2001:db8::5]:443")
)

func newLAN(t testing.TB) *lan {
	t.Helper()
	l := &lan{router: namespace(t, "router"), client: namespace(t, "client")}
	// A second link, the first that the kernel would take for a link-local address.
	ok(t, nstest.Veth(nstest.End{NS: l.router, Dev: "wan0"}, nstest.End{NS: namespace(t, "internet"), Dev: "eth0"}))
	ok(t, nstest.Veth(nstest.End{NS: l.router, Dev: "lan0"}, nstest.End{NS: l.client, Dev: "eth0"}))
	ok(t, l.router.Addr("lan0", netip.MustParsePrefix("192.168.1.1/24")))
	ok(t, l.router.Addr("lan0", netip.MustParsePrefix("fd00:1::1/64")))
	ok(t, l.client.Addr("eth0", netip.PrefixFrom(client4, 24)))
	ok(t, l.client.Addr("eth0", netip.PrefixFrom(client6, 64)))
	ok(t, l.client.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.168.1.1")))
	ok(t, l.client.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("fd00:1::1")))
	ok(t, l.router.Do(func() (err error) {
		l.sender, err = NewSender()
		return err
	}))
	t.Cleanup(func() { l.sender.Close() })
	return l
}

func namespace(t testing.TB, name string) *nstest.NS {
	t.Helper()
	n, err := nstest.New(name)
	ok(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

// send is Send in the router, where large packets open a socket.
func (l *lan) send(payload []byte, from, to netip.AddrPort) error {
	return l.router.Do(func() error { return l.sender.Send(payload, from, to) })
}

// listen opens a socket of the client on a free port.
func (l *lan) listen(t testing.TB, addr netip.Addr) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := l.client.ListenUDP(netip.AddrPortFrom(addr, 0))
	ok(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(deadline))
	return c, unmapped(c.LocalAddr().(*net.UDPAddr).AddrPort())
}

// pattern is a payload in which every length has other bytes.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*31 + size)
	}
	return b
}

// TestClientGetsWhatIsSentFromAForeignAddress relies on the client's kernel,
// which drops datagrams with a wrong checksum. Its frames are not offloaded:
// a raw socket gives a packet to the device as it is.
func TestClientGetsWhatIsSentFromAForeignAddress(t *testing.T) {
	l := newLAN(t)
	for _, tt := range []struct {
		client netip.Addr
		from   netip.AddrPort
	}{{client4, foreign4}, {client6, foreign6}} {
		socket, to := l.listen(t, tt.client)
		for _, size := range []int{0, 1, 2, 3, 63, 64, 65, 1199, 1200, 1451, 1452, 1453, 1471, 1472, 1473, 2000, 4095, 4096, 5001} {
			ok(t, l.send(pattern(size), tt.from, to))
			got := make([]byte, 8192)
			n, from, err := socket.ReadFromUDPAddrPort(got)
			if err != nil || unmapped(from) != tt.from || string(got[:n]) != string(pattern(size)) {
				t.Fatalf("read %d bytes from %s and error %v, want the %d bytes sent from %s", n, from, err, size, tt.from)
			}
		}
	}
}

// TestDatagramWhoseChecksumIsZeroIsTaken sends the one pair of bytes whose
// checksum has to be written as 0xffff: zero means none, which IPv6 forbids
// (RFC 8200, section 8.1).
func TestDatagramWhoseChecksumIsZeroIsTaken(t *testing.T) {
	l := newLAN(t)
	for _, tt := range []struct {
		client netip.Addr
		from   netip.AddrPort
	}{{client4, foreign4}, {client6, foreign6}} {
		socket, to := l.listen(t, tt.client)
		payload := payloadOfChecksum(t, 0xffff, tt.from, to)
		ok(t, l.send(payload, tt.from, to))
		got := make([]byte, 8)
		if n, err := socket.Read(got); err != nil || string(got[:n]) != string(payload) {
			t.Errorf("read %x and error %v, want %x", got[:n], err, payload)
		}
	}
}

func payloadOfChecksum(t *testing.T, sum uint16, from, to netip.AddrPort) []byte {
	t.Helper()
	d := make([]byte, udpHeader+2)
	for i := range 1 << 16 {
		binary.BigEndian.PutUint16(d[udpHeader:], uint16(i))
		if putUDP(d, from, to); binary.BigEndian.Uint16(d[6:]) == sum {
			return d[udpHeader:]
		}
	}
	t.Fatalf("found no payload with checksum %#x, want one", sum)
	return nil
}

func TestSendAllocatesNothing(t *testing.T) {
	l := newLAN(t)
	payload := pattern(1200)
	for _, tt := range []struct {
		client netip.Addr
		from   netip.AddrPort
	}{{client4, foreign4}, {client6, foreign6}} {
		_, to := l.listen(t, tt.client)
		// A collection may take the pooled buffer away; then one run in some
		// allocates, and the average stays below one.
		if got := testing.AllocsPerRun(200, func() { l.sender.Send(payload, tt.from, to) }); got >= 1 {
			t.Errorf("sending from %s allocates %v times, want 0", tt.from, got)
		}
	}
}

func TestAnswerReachesALinkLocalClient(t *testing.T) {
	l := newLAN(t)
	link, err := l.router.Handle().LinkByName("lan0")
	ok(t, err)
	ok(t, l.client.Addr("eth0", netip.MustParsePrefix("fe80::50/64")))
	peer, err := l.client.Handle().LinkByName("eth0")
	ok(t, err)
	socket, at := l.listen(t, netip.MustParseAddr("fe80::50").WithZone(strconv.Itoa(peer.Attrs().Index)))
	to := netip.AddrPortFrom(at.Addr().WithZone(strconv.Itoa(link.Attrs().Index)), at.Port())
	for _, size := range []int{5, 3000} {
		ok(t, l.send(pattern(size), foreign6, to))
		got := make([]byte, 8192)
		n, from, err := socket.ReadFromUDPAddrPort(got)
		if err != nil || from != foreign6 || n != size {
			t.Errorf("read %d bytes from %s and error %v, want %d from %s", n, from, err, size, foreign6)
		}
	}
}

func TestUnreachableRefusesAConnectedSocket(t *testing.T) {
	l := newLAN(t)
	for _, to := range []netip.AddrPort{foreign4, foreign6} {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		c, err := l.client.Dial(ctx, "udp", netip.AddrPort{}, to)
		cancel()
		ok(t, err)
		c.SetDeadline(time.Now().Add(deadline))
		from := unmapped(c.LocalAddr().(*net.UDPAddr).AddrPort())
		ok(t, l.sender.Unreachable(from, to))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the client of %s read error %v, want %v", to, err, syscall.ECONNREFUSED)
		}
		c.Close()
	}
}

func TestUnreachableConcernsItsFlowOnly(t *testing.T) {
	l := newLAN(t)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	elsewhere := netip.AddrPortFrom(foreign4.Addr(), 80)
	c, err := l.client.Dial(ctx, "udp", netip.AddrPort{}, elsewhere)
	ok(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(deadline))
	from := unmapped(c.LocalAddr().(*net.UDPAddr).AddrPort())
	ok(t, l.sender.Unreachable(from, foreign4))
	ok(t, l.send([]byte("still open"), elsewhere, from))
	got := make([]byte, 20)
	if n, err := c.Read(got); err != nil || string(got[:n]) != "still open" {
		t.Errorf("read %q and error %v, want the answer", got[:n], err)
	}
}

func TestIPv6HeaderKeepsNothingOfThePacketBefore(t *testing.T) {
	packet := make([]byte, ip6Header+udpHeader)
	for i := range packet {
		packet[i] = 0xff
	}
	putIP(packet, 17, foreign6.Addr(), client6)
	if got := fmt.Sprintf("%x", packet[:8]); got != "6000000000081140" {
		t.Errorf("header begins with %s, want 6000000000081140: no traffic class, no flow label", got)
	}
}

func BenchmarkSend(b *testing.B) {
	l := newLAN(b)
	for _, tt := range []struct {
		client netip.Addr
		from   netip.AddrPort
	}{{client4, foreign4}, {client6, foreign6}} {
		_, to := l.listen(b, tt.client)
		ok(b, l.sender.Send(nil, tt.from, to)) // asks for the neighbour
		for _, size := range []int{64, 1200} {
			b.Run(fmt.Sprintf("from %s/%d bytes", tt.from.Addr(), size), func(b *testing.B) {
				payload := pattern(size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					l.sender.Send(payload, tt.from, to)
				}
			})
		}
	}
}
