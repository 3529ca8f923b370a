package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

// tcpWorld is a world whose listener takes connections to any address of loopback.
type tcpWorld struct {
	*world
	t    testing.TB
	ns   *nstest.NS
	port uint16
	stop func() // ends serving and waits until it has
}

func serveTCP(t testing.TB, w *world) *tcpWorld {
	t.Helper()
	leavesNothing(t)
	ns, err := nstest.New("gateway")
	ok(t, err)
	t.Cleanup(func() { ns.Close() })
	l, err := ns.ListenTCP(netip.MustParseAddrPort("0.0.0.0:0"))
	ok(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.ServeTCP(ctx, l) }()
	tw := &tcpWorld{world: w, t: t, ns: ns, port: uint16(l.Addr().(*net.TCPAddr).Port)}
	tw.stop = sync.OnceFunc(func() {
		cancel()
		if err := next(t, "the end of ServeTCP", served); err != nil {
			t.Errorf("ServeTCP = %v, want nil after its context ended", err)
		}
		if held := w.names.count(0); held != 0 {
			t.Errorf("got %d fake addresses held at the end, want 0", held)
		}
		tw.closeAll(w.direct)
		tw.closeAll(w.node)
	})
	t.Cleanup(tw.stop)
	return tw
}

func (w *tcpWorld) closeAll(of *way) {
	for len(of.dials) > 0 {
		(<-of.dials).tcp.Close()
	}
}

// connect is a client that dials addr.
func (w *tcpWorld) connect(addr netip.Addr) *net.TCPConn {
	w.t.Helper()
	c, err := w.dial(addr)
	ok(w.t, err)
	return c
}

func (w *tcpWorld) dial(addr netip.Addr) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c, err := w.ns.Dial(ctx, "tcp4", netip.AddrPort{}, netip.AddrPortFrom(addr, w.port))
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(deadline))
	return c.(*net.TCPConn), nil
}

// isReset fails unless a client of addr is reset, be it while it connects.
func (w *tcpWorld) isReset(addr netip.Addr) {
	w.t.Helper()
	c, err := w.dial(addr)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("the client of %s ended with %v, want %v", addr, err, syscall.ECONNRESET)
	}
}

// dialled is the next dial of a way; its far end is closed with the test.
func (w *tcpWorld) dialled(name string, of *way) dialling {
	w.t.Helper()
	d := next(w.t, "a dial through "+name, of.dials)
	w.t.Cleanup(func() { d.tcp.Close() })
	return d
}

// says writes to one end and reads it from the other.
func says(t testing.TB, from, to net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(from, text)
	ok(t, err)
	hears(t, to, text)
}

func hears(t testing.TB, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(c, got)
	if err != nil || string(got) != text {
		t.Fatalf("read %d bytes %.40q and error %v, want %d bytes %.40q", n, got[:n], err, len(text), text)
	}
}

// ends fails unless the next read of c gives want.
func ends(t testing.TB, who string, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Errorf("%s read %d bytes and error %v, want 0 and %v", who, n, err, want)
	}
}

// clientHello is a TLS hello in one record with a server name, and with an
// outer ECH extension if ech is set (RFC 8446, RFC 6066, RFC 9849).
func clientHello(host string, ech bool) string {
	name := slices.Concat([]byte{0}, lengthed(2, []byte(host)))
	extensions := slices.Concat([]byte{0, 0}, lengthed(2, lengthed(2, name)))
	if ech {
		outer := slices.Concat([]byte{0, 0, 1, 0, 1, 7}, lengthed(2, make([]byte, 32)), lengthed(2, make([]byte, 64)))
		extensions = slices.Concat(extensions, []byte{0xfe, 0x0d}, lengthed(2, outer))
	}
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0, 0, 2, 0x13, 1, 1, 0}, lengthed(2, extensions))
	message := slices.Concat([]byte{1, 0}, lengthed(2, body))
	return string(slices.Concat([]byte{22, 3, 1}, lengthed(2, message)))
}

// lengthed puts the length of b, in size bytes, in front of it.
func lengthed(size int, b []byte) []byte {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(b)))
	return slices.Concat(length[8-size:], b)
}
