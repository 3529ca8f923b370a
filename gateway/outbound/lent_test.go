package outbound

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func lend(t *testing.T, d *Direct, to netip.AddrPort) *lent {
	t.Helper()
	c, err := d.LendUDP(soon(t), to)
	if err != nil {
		t.Fatal(err)
	}
	l := c.(*lent)
	l.SetReadDeadline(time.Now().Add(patience))
	t.Cleanup(func() { l.Close() })
	return l
}

// lendAgain gives a socket back and takes it again.
func lendAgain(t *testing.T, l *lent, to netip.AddrPort) {
	t.Helper()
	l.GiveBack()
	if again := l.shelf.take(); again != l {
		t.Fatal("the socket that was given back last is not the next")
	}
	if err := l.connect(to); err != nil {
		t.Fatal(err)
	}
}

func TestALentSocketReachesOnePeerAfterTheOther(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		first, second := echoes(t, addr, 0), echoes(t, addr, 0)
		l := lend(t, NewDirect(0, nil), first)
		echo(t, l, "one")
		lendAgain(t, l, second)
		echo(t, l, "two")
		if got := l.RemoteAddr().String(); got != second.String() {
			t.Errorf("the peer is %s, want %s", got, second)
		}
		if got, want := l.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), second.Addr(); got != want {
			t.Errorf("the own address is %s, want %s", got, want)
		}
	}
}

func TestWhatIsGivenBackIsLentAgain(t *testing.T) {
	d, at := NewDirect(0, nil), echoes(t, "127.0.0.1", 0)
	first := lend(t, d, at)
	first.GiveBack()
	if second := lend(t, d, at); second != first {
		t.Error("the next question has another socket, want the one that was given back")
	}
}

func TestOfABurstOnlyAFewSocketsAreKept(t *testing.T) {
	d, at := NewDirect(0, nil), echoes(t, "127.0.0.1", 0)
	var burst []*lent
	for range d.idle.v4.most + 5 {
		burst = append(burst, lend(t, d, at))
	}
	open := 0
	for _, l := range burst {
		l.GiveBack()
		if l.raw.Control(func(uintptr) {}) == nil {
			open++
		}
	}
	if want := d.idle.v4.most; open != want {
		t.Errorf("%d sockets are open, want %d", open, want)
	}
}

func TestALentSocketHasARandomPortEachTime(t *testing.T) {
	const times, bins = 4000, 64
	l := lend(t, NewDirect(0, nil), echoes(t, "127.0.0.1", 0))
	var ports []int
	next := 0
	for i := range times {
		lendAgain(t, l, l.to)
		ports = append(ports, l.LocalAddr().(*net.UDPAddr).Port)
		if i > 0 && (ports[i] == ports[i-1] || ports[i] == ports[i-1]+1 || ports[i] == ports[i-1]+2) {
			next++
		}
	}
	low, span := slices.Min(ports), slices.Max(ports)+1-slices.Min(ports)
	var counts [bins]float64
	for _, p := range ports {
		counts[(p-low)*bins/span]++
	}
	sum := 0.0
	for i, n := range counts {
		// Bins hold unequally many ports where the span is no multiple.
		want := float64(times) * float64((i+1)*span/bins-i*span/bins) / float64(span)
		sum += (n - want) * (n - want) / want
	}
	// 63 degrees of freedom: beyond 118.9 once in 50,000 runs.
	if sum > 118.9 {
		t.Errorf("chi-square of the ports = %.1f, want at most 118.9", sum)
	}
	if next > 20 {
		t.Errorf("%d ports are the one before or follow on it, want at most 20", next)
	}
}

func TestASocketThatWasGivenBackHasNoPort(t *testing.T) {
	l := lend(t, NewDirect(0, nil), echoes(t, "127.0.0.1", 0))
	l.GiveBack()
	if got, want := l.LocalAddr().String(), "0.0.0.0:0"; got != want {
		t.Errorf("it is bound to %s, want %s: nobody may reach it", got, want)
	}
}

func TestASocketWithSomethingUnreadIsNotLentAgain(t *testing.T) {
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	l := lend(t, NewDirect(0, nil), peer.LocalAddr().(*net.UDPAddr).AddrPort())
	if _, err := peer.WriteTo([]byte("late"), l.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	err = l.raw.Read(func(fd uintptr) bool { // waits until it is there
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.GiveBack()
	if _, err := l.Read(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading it: %v, want %v", err, net.ErrClosed)
	}
}

func TestALentSocketIsBoundToItsDeviceEachTime(t *testing.T) {
	at := echoes(t, "127.0.0.1", 0)
	l := lend(t, &NewInterface("lo", 0, nil).Direct, at)
	lendAgain(t, l, at)
	if option(t, l, unix.SO_BINDTOIFINDEX) == 0 {
		t.Error("the socket is not bound to a device")
	}
}

func TestTheErrorOfALentSocketNamesItsPeer(t *testing.T) {
	l := lend(t, NewDirect(0, nil), echoes(t, "127.0.0.1", 0))
	nobody := netip.MustParseAddrPort("127.0.0.9:9")
	lendAgain(t, l, nobody)
	if _, err := l.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_, err := l.Read(make([]byte, 10))
	if !errors.Is(err, unix.ECONNREFUSED) || !strings.Contains(err.Error(), nobody.String()) {
		t.Errorf("reading: %v, want one that says that %s refuses", err, nobody)
	}
}

func TestToLendASocketAgainAllocatesNothing(t *testing.T) {
	l := lend(t, NewDirect(0, nil), echoes(t, "127.0.0.1", 0))
	l.shelf = nil
	n := testing.AllocsPerRun(100, func() {
		l.raw.Control(l.release)
		if err := l.connect(l.to); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
