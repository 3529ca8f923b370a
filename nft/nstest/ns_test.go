package nstest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

// pair is two namespaces linked by eth0, each with an IPv4 and an IPv6 address.
func pair(t *testing.T) (a, b *nstest.NS) {
	t.Helper()
	a, b = namespace(t, "a"), namespace(t, "b")
	ok(t, nstest.Veth(
		nstest.End{NS: a, Dev: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}},
		nstest.End{NS: b, Dev: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}}))
	for i, n := range []*nstest.NS{a, b} {
		ok(t, n.Addr("eth0", netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1))))
		ok(t, n.Addr("eth0", netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/64", i+1))))
	}
	return a, b
}

func namespace(t *testing.T, name string) *nstest.NS {
	t.Helper()
	n, err := nstest.New(name)
	ok(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestLinkedNamespacesReachEachOtherAtOnce(t *testing.T) {
	a, b := pair(t)
	for _, to := range []string{"192.0.2.2", "2001:db8::2"} {
		t.Run(to, func(t *testing.T) {
			at := netip.AddrPortFrom(netip.MustParseAddr(to), 7)
			l, err := b.ListenTCP(at)
			ok(t, err)
			defer l.Close()
			go func() {
				if c, err := l.Accept(); err == nil {
					io.WriteString(c, c.RemoteAddr().String())
					c.Close()
				}
			}()
			c, err := a.Dial(soon(t), "tcp", netip.AddrPort{}, at)
			ok(t, err)
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			got, err := io.ReadAll(c)
			ok(t, err)
			if want := c.LocalAddr().String(); string(got) != want {
				t.Errorf("the server saw %s, want %s", got, want)
			}
		})
	}
}

func TestBridgeJoinsItsPorts(t *testing.T) {
	left, middle, right := namespace(t, "left"), namespace(t, "middle"), namespace(t, "right")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	ok(t, nstest.Veth(nstest.End{NS: left, Dev: "eth0"}, nstest.End{NS: middle, Dev: "p0"}))
	ok(t, nstest.Veth(nstest.End{NS: right, Dev: "eth0"}, nstest.End{NS: middle, Dev: "p1"}))
	ok(t, nstest.Bridge(nstest.End{NS: middle, Dev: "br0", MAC: mac}, "p0", "p1"))
	ok(t, left.Addr("eth0", netip.MustParsePrefix("192.0.2.1/24")))
	ok(t, right.Addr("eth0", netip.MustParsePrefix("192.0.2.2/24")))

	server, err := right.ListenUDP(netip.MustParseAddrPort("192.0.2.2:7"))
	ok(t, err)
	defer server.Close()
	c, err := left.Dial(soon(t), "udp", netip.AddrPort{}, netip.MustParseAddrPort("192.0.2.2:7"))
	ok(t, err)
	defer c.Close()
	c.Write([]byte("x"))
	server.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, from, err := server.ReadFromUDPAddrPort(make([]byte, 10))
	ok(t, err)
	if want := c.LocalAddr().String(); from.String() != want {
		t.Errorf("datagram came from %s, want %s", from, want)
	}
	link, err := middle.Handle().LinkByName("br0")
	ok(t, err)
	if got := link.Attrs().HardwareAddr.String(); got != mac.String() {
		t.Errorf("br0 has the address %s, want %s", got, mac)
	}
}

func TestAFreshLinkLosesNothing(t *testing.T) {
	for range 15 {
		a, b := pair(t)
		for _, to := range []string{"[2001:db8::2]:9", "192.0.2.2:9"} {
			at := netip.MustParseAddrPort(to)
			sink, err := b.ListenUDP(at)
			ok(t, err)
			defer sink.Close()
			c, err := a.Dial(soon(t), "udp", netip.AddrPort{}, at)
			ok(t, err)
			defer c.Close()
			c.Write([]byte("first"))
			// Less than the second after which a neighbour is asked for again.
			sink.SetReadDeadline(time.Now().Add(700 * time.Millisecond))
			if _, err := sink.Read(make([]byte, 10)); err != nil {
				t.Fatalf("the first datagram to %s: %v", to, err)
			}
		}
	}
}

func TestSettingsBelongToTheNamespace(t *testing.T) {
	a, b := namespace(t, "a"), namespace(t, "b")
	ok(t, a.SetSysctl("net.ipv4.ip_forward", "1"))
	for n, want := range map[*nstest.NS]string{a: "1", b: "0"} {
		got, err := n.Sysctl("net/ipv4/ip_forward")
		ok(t, err)
		if got != want {
			t.Errorf("ip_forward in %s = %s, want %s", n.Name(), got, want)
		}
	}
}

func TestProcessesStartInTheNamespace(t *testing.T) {
	a := namespace(t, "a")
	var want string
	ok(t, a.Do(func() (err error) {
		want, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "readlink /proc/self/ns/net")
	cmd.Stdout = &out
	ok(t, a.Start(cmd))
	ok(t, cmd.Wait())
	if got := strings.TrimSpace(out.String()); got != want {
		t.Errorf("the process ran in %s, want %s", got, want)
	}
}

func TestDoGivesTheErrorOfTheFunction(t *testing.T) {
	a := namespace(t, "a")
	if err := a.Do(func() error { return io.ErrUnexpectedEOF }); err != io.ErrUnexpectedEOF {
		t.Errorf("Do = %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestAClosedNamespaceSaysSo(t *testing.T) {
	a := namespace(t, "a")
	ok(t, a.Close())
	if err := a.Close(); err != nil {
		t.Errorf("closing again: %v, want nil", err)
	}
	if err := a.Do(func() error { return nil }); !errors.Is(err, nstest.ErrClosed) {
		t.Errorf("Do = %v, want %v", err, nstest.ErrClosed)
	}
}

func TestNothingIsLeftOfClosedNamespaces(t *testing.T) {
	before := descriptors(t)
	for range 20 {
		a, err := nstest.New("a")
		ok(t, err)
		b, err := nstest.New("b")
		ok(t, err)
		ok(t, nstest.Veth(nstest.End{NS: a, Dev: "eth0"}, nstest.End{NS: b, Dev: "eth0"}))
		c, err := nstest.Start(a, "eth0")
		ok(t, err)
		ok(t, c.Close())
		ok(t, a.Close())
		ok(t, b.Close())
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, want %d as before", after, before)
	}
	for thread, ns := range threads(t) {
		if home := threads(t)[os.Getpid()]; ns != home {
			t.Errorf("thread %d is in %s, want %s", thread, ns, home)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	return len(entries)
}

// threads maps each thread of this process to its network namespace.
func threads(t *testing.T) map[int]string {
	t.Helper()
	all, err := filepath.Glob("/proc/self/task/*/ns/net")
	ok(t, err)
	m := make(map[int]string)
	for _, path := range all {
		var id int
		fmt.Sscanf(path, "/proc/self/task/%d/ns/net", &id)
		if ns, err := os.Readlink(path); err == nil { // the thread may have ended
			m[id] = ns
		}
	}
	return m
}
