package tproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

// listenUDP opens a listener in a namespace. The kernel tells the original
// destination of what was sent to a local address just as of what was diverted.
func listenUDP(t testing.TB, n *nstest.NS, at string) *UDPListener {
	t.Helper()
	var l *UDPListener
	ok(t, n.Do(func() (err error) {
		l, err = ListenUDP(context.Background(), netip.MustParseAddrPort(at))
		return err
	}))
	t.Cleanup(func() { l.Close() })
	l.conn.SetReadDeadline(time.Now().Add(deadline))
	return l
}

func TestBurstsArriveInOrderWithBothAddresses(t *testing.T) {
	const burst, bursts = 100, 10
	for name, tt := range map[string]struct{ listen, first, second string }{
		"IPv4": {"0.0.0.0:4430", "127.9.0.1:4430", "127.9.0.2:4430"},
		"IPv6": {"[::]:4430", "[fd00:9::1]:4430", "[fd00:9::2]:4430"},
	} {
		t.Run(name, func(t *testing.T) {
			n := namespace(t, "burst")
			ok(t, n.Addr("lo", netip.MustParsePrefix("fd00:9::1/128")))
			ok(t, n.Addr("lo", netip.MustParsePrefix("fd00:9::2/128")))
			l := listenUDP(t, n, tt.listen)
			var clients []net.Conn
			for _, to := range []string{tt.first, tt.second} {
				ctx, cancel := context.WithTimeout(context.Background(), deadline)
				c, err := n.Dial(ctx, "udp", netip.AddrPort{}, netip.MustParseAddrPort(to))
				cancel()
				ok(t, err)
				defer c.Close()
				clients = append(clients, c)
			}
			for number := uint64(0); number < burst*bursts; number++ {
				c := clients[number%2]
				_, err := c.Write(append(binary.BigEndian.AppendUint64(nil, number), pattern(int(number))...))
				ok(t, err)
				if (number+1)%burst == 0 {
					readBurst(t, l, clients, number+1-burst, number)
				}
			}
		})
	}
}

// readBurst fails unless datagrams first to last come next, each from the
// client whose turn it was.
func readBurst(t *testing.T, l *UDPListener, clients []net.Conn, first, last uint64) {
	t.Helper()
	for number := first; number <= last; number++ {
		c := clients[number%2]
		wantClient := unmapped(c.LocalAddr().(*net.UDPAddr).AddrPort())
		wantDialled := unmapped(c.RemoteAddr().(*net.UDPAddr).AddrPort())
		payload, client, dialled, err := l.Read()
		ok(t, err)
		if want := pattern(int(number)); len(payload) < 8 || binary.BigEndian.Uint64(payload) != number || string(payload[8:]) != string(want) {
			t.Fatalf("datagram %d has %d bytes, want its number and %d bytes", number, len(payload), len(want))
		}
		if client != wantClient || dialled != wantDialled {
			t.Fatalf("datagram %d is from %s to %s, want from %s to %s", number, client, dialled, wantClient, wantDialled)
		}
	}
}

func TestDatagramsTooLongAreLeftOutOfABatch(t *testing.T) {
	n := namespace(t, "long")
	l := listenUDP(t, n, "0.0.0.0:4430")
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c, err := n.Dial(ctx, "udp", netip.AddrPort{}, netip.MustParseAddrPort("127.9.0.1:4430"))
	ok(t, err)
	defer c.Close()
	for _, size := range []int{10, maxDatagram + 1, maxDatagram, 0, 20} {
		_, err := c.Write(pattern(size))
		ok(t, err)
	}
	for _, want := range []int{10, maxDatagram, 0, 20} {
		payload, _, _, err := l.Read()
		ok(t, err)
		if string(payload) != string(pattern(want)) {
			t.Errorf("read %d bytes, want the datagram of %d", len(payload), want)
		}
	}
}

func TestCloseEndsARead(t *testing.T) {
	l := listenUDP(t, namespace(t, "closed"), "127.0.0.1:4430")
	failed := make(chan error, 1)
	go func() {
		_, _, _, err := l.Read()
		failed <- err
	}()
	l.Close()
	select {
	case err := <-failed:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read = %v, want %v", err, net.ErrClosed)
		}
	case <-time.After(deadline):
		t.Error("Read goes on after Close, want it to end")
	}
}

func TestEndpointsAreTheClientAndWhatItDialled(t *testing.T) {
	n := namespace(t, "endpoints")
	ok(t, n.Addr("lo", netip.MustParsePrefix("fd00:9::1/128")))
	for listen, dial := range map[string]string{"0.0.0.0:4430": "127.9.0.1:4430", "[::]:4431": "[fd00:9::1]:4431"} {
		var l *net.TCPListener
		ok(t, n.Do(func() (err error) {
			l, err = ListenTCP(context.Background(), netip.MustParseAddrPort(listen))
			return err
		}))
		defer l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		c, err := n.Dial(ctx, "tcp", netip.AddrPort{}, netip.MustParseAddrPort(dial))
		cancel()
		ok(t, err)
		defer c.Close()
		l.SetDeadline(time.Now().Add(deadline))
		accepted, err := l.AcceptTCP()
		ok(t, err)
		defer accepted.Close()
		client, dialled := Endpoints(accepted)
		if want := c.LocalAddr().(*net.TCPAddr).AddrPort(); client != want || dialled.String() != dial {
			t.Errorf("Endpoints = %s, %s, want %s, %s", client, dialled, want, dial)
		}
	}
}
