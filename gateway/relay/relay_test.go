package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 5 * time.Second

// A lab is a flow under Pipe with its two far ends.
type lab struct {
	client, server *net.TCPConn // the far ends
	counts         Counts
	result         chan outcome
	cancel         context.CancelCauseFunc
}

type outcome struct {
	stats Stats
	err   error
}

func (l *lab) wait(t testing.TB) outcome {
	t.Helper()
	select {
	case o := <-l.result:
		return o
	case <-time.After(patience):
		t.Fatal("Pipe has not returned")
		return outcome{}
	}
}

// pair is a TCP connection over loopback.
func pair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	deadline := time.Now().Add(2 * patience)
	dialed.SetDeadline(deadline)
	accepted.SetDeadline(deadline)
	return accepted, dialed
}

type opaque struct{ net.Conn }

func (o opaque) CloseWrite() error { return o.Conn.(*net.TCPConn).CloseWrite() }

func start(t testing.TB, head []byte, idle time.Duration, wrap func(net.Conn) net.Conn) *lab {
	t.Helper()
	client, clientFar := pair(t)
	upstream, serverFar := pair(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &lab{client: clientFar, server: serverFar, result: make(chan outcome, 1), cancel: cancel}
	t.Cleanup(func() { cancel(nil) })
	if wrap == nil {
		wrap = func(c net.Conn) net.Conn { return c }
	}
	go func() {
		err := Pipe(ctx, wrap(client), wrap(upstream), head, idle, &l.counts)
		l.result <- outcome{l.counts.Stats(), err}
	}()
	return l
}

// send writes n random bytes in random pieces, half-closes, and gives their sum.
func send(c *net.TCPConn, r *rand.Rand, n int) ([32]byte, error) {
	h := sha256.New()
	piece := make([]byte, 200<<10)
	for n > 0 {
		p := piece[:1+r.IntN(min(n, len(piece)))]
		for i := 0; i < len(p); i += 61 {
			p[i] = byte(r.Uint32())
		}
		h.Write(p)
		if _, err := c.Write(p); err != nil {
			return [32]byte{}, err
		}
		n -= len(p)
	}
	return [32]byte(h.Sum(nil)), c.CloseWrite()
}

func receive(c *net.TCPConn) ([32]byte, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, c)
	return [32]byte(h.Sum(nil)), n, err
}

func TestWhatOneSideSendsArrivesWholeInEitherCloseOrder(t *testing.T) {
	sizes := []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, 3 * bufferSize, 256 << 10, 1 << 20, 3<<20 + 11}
	shapes := map[string]func(net.Conn) net.Conn{
		"TCP":    nil,
		"opaque": func(c net.Conn) net.Conn { return opaque{c} },
	}
	for name, wrap := range shapes {
		for round := range 30 {
			seed := rand.Uint64()
			t.Run(fmt.Sprintf("%s/%d", name, round), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				up, down := sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))]
				head := make([]byte, r.IntN(3)*700)
				t.Logf("seed %d, head %d, up %d, down %d", seed, len(head), up, down)
				l := start(t, head, time.Minute, wrap)
				exchange(t, l, r, head, up, down)
			})
		}
	}
}

// exchange sends both ways, one way after the other or at once, and compares.
func exchange(t *testing.T, l *lab, r *rand.Rand, head []byte, up, down int) {
	t.Helper()
	if len(head) > 0 {
		got := make([]byte, len(head))
		if _, err := io.ReadFull(l.server, got); err != nil || !bytes.Equal(got, head) {
			t.Fatalf("the head arrived wrong: %v", err)
		}
	}
	oneWay := func(from, to *net.TCPConn, n int, r *rand.Rand) {
		sum := make(chan [32]byte, 1)
		go func() {
			s, err := send(from, r, n)
			if err != nil {
				t.Errorf("sending: %v", err)
			}
			sum <- s
		}()
		got, moved, err := receive(to)
		if want := <-sum; got != want || moved != int64(n) || err != nil {
			t.Errorf("received %d bytes (%v), sums equal: %t; want %d", moved, err, got == want, n)
		}
	}
	goingUp := func() { oneWay(l.client, l.server, up, rand.New(rand.NewPCG(r.Uint64(), 2))) }
	goingDown := func() { oneWay(l.server, l.client, down, rand.New(rand.NewPCG(r.Uint64(), 3))) }
	switch r.IntN(3) {
	case 0:
		goingUp()
		goingDown()
	case 1:
		goingDown()
		goingUp()
	case 2:
		seed := r.Uint64()
		var wg sync.WaitGroup
		wg.Go(func() { oneWay(l.client, l.server, up, rand.New(rand.NewPCG(seed, 2))) })
		wg.Go(func() { oneWay(l.server, l.client, down, rand.New(rand.NewPCG(seed, 3))) })
		wg.Wait()
	}
	got := l.wait(t)
	if want := (outcome{stats: Stats{Up: int64(len(head) + up), Down: int64(down)}}); got != want {
		t.Errorf("Pipe = %+v, want %+v", got, want)
	}
}

func TestBulkArrivesWholeBothWaysAtOnce(t *testing.T) {
	const size = 64 << 20
	l := start(t, nil, time.Minute, nil)
	var wg sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{l.client, l.server}, {l.server, l.client}} {
		wg.Go(func() {
			if _, err := send(way[0], rand.New(rand.NewPCG(1, 1)), size); err != nil {
				t.Errorf("sending: %v", err)
			}
		})
		wg.Go(func() {
			if _, n, err := receive(way[1]); n != size || err != nil {
				t.Errorf("received %d bytes (%v), want %d", n, err, size)
			}
		})
	}
	wg.Wait()
	if got, want := l.wait(t), (outcome{stats: Stats{Up: size, Down: size}}); got != want {
		t.Errorf("Pipe = %+v, want %+v", got, want)
	}
}

func TestAHalfClosedFlowStillCarriesTheOtherWay(t *testing.T) {
	l := start(t, nil, time.Minute, nil)
	l.client.CloseWrite()
	if n, err := l.server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("the server read %d, %v; want the end", n, err)
	}
	for range 3 {
		l.server.Write([]byte("late"))
		got := make([]byte, 4)
		if _, err := io.ReadFull(l.client, got); err != nil || string(got) != "late" {
			t.Fatalf("the client read %q, %v; want late", got, err)
		}
	}
	l.server.CloseWrite()
	if got, want := l.wait(t), (outcome{stats: Stats{Down: 12}}); got != want {
		t.Errorf("Pipe = %+v, want %+v", got, want)
	}
}

func TestAResetIsMirroredAsAReset(t *testing.T) {
	for name, sides := range map[string]func(*lab) (from, to *net.TCPConn){
		"of the client":   func(l *lab) (from, to *net.TCPConn) { return l.client, l.server },
		"of the upstream": func(l *lab) (from, to *net.TCPConn) { return l.server, l.client },
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, nil, time.Minute, nil)
			from, to := sides(l)
			Abort(from)
			if _, err := to.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other side read %v, want a reset", err)
			}
			if got := l.wait(t); !errors.Is(got.err, syscall.ECONNRESET) {
				t.Errorf("Pipe = %v, want a reset", got.err)
			}
		})
	}
}

func TestAResetInTheMiddleOfADownloadReachesTheClient(t *testing.T) {
	l := start(t, nil, time.Minute, nil)
	go func() {
		l.server.Write(make([]byte, 8<<20))
		Abort(l.server)
	}()
	n, err := io.Copy(io.Discard, l.client)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client read %d bytes and then %v, want a reset", n, err)
	}
	l.wait(t)
}

func TestAResetOfAHalfClosedFlowIsMirroredByTheNextWrite(t *testing.T) {
	l := start(t, nil, time.Minute, nil)
	l.client.CloseWrite()
	l.server.Read(make([]byte, 1))
	Abort(l.client)
	var err error
	for err == nil {
		_, err = l.server.Write(make([]byte, 1024))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the server's write ended with %v, want a reset", err)
	}
	l.wait(t)
}

func TestAnIdleFlowIsResetAfterItsTime(t *testing.T) {
	const idle = 80 * time.Millisecond
	began := time.Now()
	l := start(t, nil, idle, nil)
	for _, c := range []*net.TCPConn{l.client, l.server} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a far end read %v, want a reset: an end would look like the whole", err)
		}
	}
	if got := l.wait(t); !errors.Is(got.err, ErrIdle) {
		t.Errorf("Pipe = %v, want ErrIdle", got.err)
	}
	if took := time.Since(began); took < idle {
		t.Errorf("ended after %v, want at least %v", took, idle)
	}
}

func TestBytesOfOneDirectionKeepBothAlive(t *testing.T) {
	const idle = 200 * time.Millisecond
	l := start(t, nil, idle, nil)
	tick := time.NewTicker(idle / 5)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < 3*idle; <-tick.C {
		l.server.Write([]byte{1})
		if _, err := l.client.Read(make([]byte, 1)); err != nil {
			t.Fatalf("the flow ended after %v: %v", time.Since(began), err)
		}
	}
	if _, err := l.client.Write([]byte("x")); err != nil {
		t.Errorf("writing the other way: %v", err)
	}
}

// All that the server sends fits into the kernel's buffers, so that only the
// client's acknowledgements tell that it still reads.
func TestASlowReaderIsNotIdle(t *testing.T) {
	const idle, size, reads = 400 * time.Millisecond, 1 << 20, 64
	l := start(t, nil, idle, nil)
	l.client.SetReadBuffer(128 << 10)
	l.server.Write(make([]byte, size))
	l.server.CloseWrite()
	tick := time.NewTicker(4 * idle / reads)
	defer tick.Stop()
	b := make([]byte, size/reads)
	for i := range reads {
		if _, err := io.ReadFull(l.client, b); err != nil {
			t.Fatalf("read %d of %d: %v", i, reads, err)
		}
		<-tick.C
	}
}

func TestCancellingResetsBothWithinMilliseconds(t *testing.T) {
	for name, prepare := range map[string]func(*lab){
		"while it waits":        func(*lab) {},
		"while the client lags": func(l *lab) { stall(l) },
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, nil, time.Minute, nil)
			prepare(l)
			cause := errors.New("shutting down")
			began := time.Now()
			l.cancel(cause)
			got := l.wait(t)
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %v, want milliseconds, or a second on a busy machine", took)
			}
			if !errors.Is(got.err, cause) {
				t.Errorf("Pipe = %v, want %v", got.err, cause)
			}
			if _, err := io.Copy(io.Discard, l.server); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server read %v, want a reset", err)
			}
		})
	}
}

// stall has the server write until nothing more fits between it and a client
// that does not read.
func stall(l *lab) {
	l.server.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	io.Copy(l.server, endless{})
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestAnEarlierDeadlineDoesNotEndTheFlow(t *testing.T) {
	client, clientFar := pair(t)
	upstream, serverFar := pair(t)
	client.SetReadDeadline(time.Unix(1, 0))
	done := make(chan error, 1)
	go func() {
		done <- Pipe(context.Background(), client, upstream, nil, 0, new(Counts))
	}()
	clientFar.Write([]byte("x"))
	if _, err := serverFar.Read(make([]byte, 1)); err != nil {
		t.Errorf("the server read %v, want the byte", err)
	}
	clientFar.Close()
	serverFar.Close()
	if err := <-done; err != nil {
		t.Errorf("Pipe = %v, want no error", err)
	}
}
