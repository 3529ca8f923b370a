package outbound

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echoes serves TCP and UDP at addr, on a port of its choice or the one given.
func echoes(t *testing.T, addr string, port uint16) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	at := l.Addr().(*net.TCPAddr).AddrPort()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if errors.Is(err, syscall.EADDRINUSE) && port == 0 {
		return echoes(t, addr, 0) // somebody has the same port of UDP
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			u.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return at
}

func TestDirectReachesAddresses(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		at := echoes(t, addr, 0)
		d := NewDirect(0, nil)
		tcp, err := d.DialTCP(soon(t), "", at)
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
		echo(t, tcp, "over TCP")
		udp, err := d.DialUDP(soon(t), "", at)
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		echo(t, udp, "over UDP")

		many, err := d.ListenUDP(soon(t), at.Addr().Is6())
		if err != nil {
			t.Fatal(err)
		}
		defer many.Close()
		many.SetReadDeadline(time.Now().Add(patience))
		for _, peer := range []netip.AddrPort{at, echoes(t, addr, 0)} {
			many.WriteToUDPAddrPort([]byte("x"), peer)
			if n, from, err := many.ReadFromUDPAddrPort(make([]byte, 9)); n != 1 || from != peer || err != nil {
				t.Errorf("read %d bytes from %v, %v; want 1 from %v", n, from, err, peer)
			}
		}
	}
}

func TestDirectResolvesHosts(t *testing.T) {
	at := echoes(t, "127.0.0.1", 0)
	port := netip.AddrPortFrom(netip.MustParseAddr("198.18.0.1"), at.Port()) // a fake address is not used
	d := NewDirect(0, resolver{"example.com": addrs("127.0.0.1"), "empty.example": nil})
	for _, dial := range []func(context.Context, string, netip.AddrPort) (net.Conn, error){d.DialTCP, d.DialUDP} {
		c, err := dial(soon(t), "example.com", port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		echo(t, c, "hello")
		if _, err := dial(soon(t), "other.example", port); !errors.Is(err, errNoSuch) {
			t.Errorf("a name that does not exist: %v, want %v", err, errNoSuch)
		}
		if _, err := dial(soon(t), "empty.example", port); !errors.Is(err, errNoAddress) {
			t.Errorf("a name without addresses: %v, want %v", err, errNoAddress)
		}
	}
	if _, err := NewDirect(0, nil).DialTCP(soon(t), "example.com", port); !errors.Is(err, errNoResolver) {
		t.Errorf("no resolver: %v, want %v", err, errNoResolver)
	}
}

func TestARefusalIsTold(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	d := NewDirect(0, resolver{"two.example": addrs("127.0.0.1", "127.0.0.2")})
	for _, host := range []string{"", "two.example"} {
		if _, err := d.DialTCP(soon(t), host, at); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("host %q: %v, want a refusal", host, err)
		}
	}
}

func TestARefusedAddressIsFollowedByTheNextAtOnce(t *testing.T) {
	at := echoes(t, "127.0.0.2", 0)
	d := NewDirect(0, resolver{"example.com": addrs("127.0.0.1", "127.0.0.2")})
	best := time.Hour
	for range 5 { // a busy machine may be late, but not each time
		began := time.Now()
		c, err := d.DialTCP(soon(t), "example.com", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		best = min(best, time.Since(began))
		echo(t, c, "hello")
	}
	if best >= attemptDelay {
		t.Errorf("took %v at best, want less than %v", best, attemptDelay)
	}
}

func TestASilentAddressDelaysTheNextOnlyAMoment(t *testing.T) {
	silent := deaf(t)
	echoes(t, "127.0.0.2", silent.Port())
	d := NewDirect(0, resolver{"example.com": addrs("127.0.0.1", "127.0.0.2")})
	began := time.Now()
	c, err := d.DialTCP(soon(t), "example.com", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if took := time.Since(began); took < attemptDelay || took > 2*time.Second {
		t.Errorf("took %v, want little more than %v", took, attemptDelay)
	}
	echo(t, c, "hello")
}

// deaf is an address of 127.0.0.1 that drops every SYN: its backlog is full.
func deaf(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(bound.(*unix.SockaddrInet4).Port))
	for range 10 {
		c, err := net.DialTimeout("tcp4", at.String(), 50*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the backlog does not fill")
	return at
}

func TestCancellingEndsARaceAtOnce(t *testing.T) {
	silent := deaf(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := NewDirect(0, resolver{"example.com": addrs("127.0.0.1", "127.0.0.1")}).DialTCP(ctx, "example.com", silent)
	if err == nil || time.Since(began) > time.Second {
		t.Errorf("DialTCP = %v after %v, want an error at once", err, time.Since(began))
	}
}

func TestFamiliesAlternate(t *testing.T) {
	for _, tt := range []struct{ in, want []netip.Addr }{
		{addrs("::1", "::2", "::3", "1.1.1.1"), addrs("::1", "1.1.1.1", "::2", "::3")},
		{addrs("1.1.1.1", "::1", "::2"), addrs("1.1.1.1", "::1", "::2")},
		{addrs("1.1.1.1", "1.1.1.2"), addrs("1.1.1.1", "1.1.1.2")},
	} {
		if got := interleave(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("interleave(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

// option reads a socket option of c.
func option(t *testing.T, c any, name int) (value int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, name) })
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestEverySocketCarriesTheMark(t *testing.T) {
	const mark = 0x02000000
	at := echoes(t, "127.0.0.1", 0)
	d := NewDirect(mark, nil)
	open := map[string]func() (any, error){
		"DialTCP":   func() (any, error) { return d.DialTCP(soon(t), "", at) },
		"DialUDP":   func() (any, error) { return d.DialUDP(soon(t), "", at) },
		"ListenUDP": func() (any, error) { return d.ListenUDP(soon(t), false) },
		"LendUDP, for the second time": func() (any, error) {
			c, err := d.LendUDP(soon(t), at)
			if err != nil {
				return nil, err
			}
			c.GiveBack()
			return c, c.(*lent).connect(at)
		},
	}
	for name, open := range open {
		c, err := open()
		if errors.Is(err, unix.EPERM) { // without CAP_NET_ADMIN the mark must not be left out
			if !strings.Contains(err.Error(), "marking the socket") {
				t.Errorf("%s without privilege: %v, want it to name the mark", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.(io.Closer).Close()
		if got := option(t, c, unix.SO_MARK); got != mark {
			t.Errorf("%s: mark %#x, want %#x", name, got, mark)
		}
	}
}

func TestConnectionsAreNotMPTCP(t *testing.T) {
	c, err := NewDirect(0, nil).DialTCP(soon(t), "", echoes(t, "127.0.0.1", 0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := option(t, c, unix.SO_PROTOCOL); got != unix.IPPROTO_TCP {
		t.Errorf("protocol %d, want TCP", got)
	}
}

func TestAnInterfaceBindsItsSockets(t *testing.T) {
	at := echoes(t, "127.0.0.1", 0)
	c, err := NewInterface("lo", 0, nil).DialTCP(soon(t), "", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echo(t, c, "hello")
	if option(t, c, unix.SO_BINDTOIFINDEX) == 0 {
		t.Error("the socket is not bound to a device")
	}
	_, err = NewInterface("missing0", 0, nil).DialTCP(soon(t), "", at)
	if err == nil || !strings.Contains(err.Error(), "missing0") {
		t.Errorf("a device that does not exist: %v, want an error that names it", err)
	}
}
