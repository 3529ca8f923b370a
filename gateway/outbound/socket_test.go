package outbound

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// heardIn is how many segments a listener was sent by a connection with its
// first byte.
func heardIn(t *testing.T, dial func(at *net.TCPAddr) (net.Conn, error)) uint32 {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := dial(l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	far, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	raw, err := far.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	if ctl := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	return info.Segs_in
}

// A busy machine may need longer to write than the kernel waits, but not each time.
func TestTheHandshakeEndsWithTheFirstBytes(t *testing.T) {
	usual := heardIn(t, func(at *net.TCPAddr) (net.Conn, error) { return net.DialTCP("tcp4", nil, at) })
	got := usual
	for range 20 {
		got = min(got, heardIn(t, func(at *net.TCPAddr) (net.Conn, error) {
			return NewDirect(0, nil).DialTCP(soon(t), "", at.AddrPort())
		}))
	}
	if want := usual - 1; got != want {
		t.Errorf("the peer was sent %d segments, want %d: one less than usual", got, want)
	}
}
