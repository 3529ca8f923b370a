package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A reset is told by the kernel once, perhaps when more is looked for behind the
// last bytes.
func TestAResetBehindTheLastBytesIsMirrored(t *testing.T) {
	client, clientFar := pair(t)
	upstream, serverFar := pair(t)
	serverFar.Write([]byte("cut"))
	Abort(serverFar)
	untilState(t, upstream, tcpClose)
	if err := Pipe(context.Background(), client, upstream, nil, 0, new(Counts)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Pipe = %v, want a reset", err)
	}
	if got, err := io.ReadAll(clientFar); string(got) != "cut" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client read %q and then %v, want cut and a reset", got, err)
	}
}

// The kernel sends bytes that wait for others after a fifth of a second, which a
// busy machine may take to end the flow, but not each time.
func TestTheLastBytesAndTheEndAreOneSegment(t *testing.T) {
	got := segmentsOfAShortAnswer(t)
	for range 20 {
		got = min(got, segmentsOfAShortAnswer(t))
	}
	if got != 1 {
		t.Errorf("they came in %d segments, want 1", got)
	}
}

// segmentsOfAShortAnswer is how many a client is sent by a server that answers
// and closes before the relay looks.
func segmentsOfAShortAnswer(t *testing.T) uint32 {
	t.Helper()
	client, clientFar := pair(t)
	upstream, serverFar := pair(t)
	serverFar.Write(make([]byte, 96))
	serverFar.Close()
	untilState(t, upstream, tcpCloseWait)
	before := tcpInfo(t, clientFar).Segs_in
	done := make(chan error, 1)
	go func() { done <- Pipe(context.Background(), client, upstream, nil, 0, new(Counts)) }()
	if got, err := io.ReadAll(clientFar); len(got) != 96 || err != nil {
		t.Errorf("the client read %d bytes, %v; want 96", len(got), err)
	}
	segments := tcpInfo(t, clientFar).Segs_in - before
	clientFar.Close()
	if err := <-done; err != nil {
		t.Errorf("Pipe = %v, want no error", err)
	}
	return segments
}

// States of tcp_states.h, as the kernel's TCP_INFO gives them.
const (
	tcpClose     = 7
	tcpCloseWait = 8
)

func tcpInfo(t *testing.T, c *net.TCPConn) *unix.TCPInfo {
	t.Helper()
	var info *unix.TCPInfo
	err := rawOf(c).Control(func(fd uintptr) {
		var err error
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// untilState waits until all that the far end did has arrived.
func untilState(t *testing.T, c *net.TCPConn, want uint8) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for got := tcpInfo(t, c).State; got != want; got = tcpInfo(t, c).State {
		if time.Now().After(deadline) {
			t.Fatalf("the state of the socket is %d, want %d", got, want)
		}
		runtime.Gosched()
	}
}
