package relay

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// copied is how many bytes read(2) has moved into this process so far.
func copied(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatalf("the kernel counts no reads (CONFIG_TASK_IO_ACCOUNTING): %v", err)
	}
	if _, err := fmt.Sscanf(string(b), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// pipes is how many descriptors of this process are ends of pipes that it made
// itself: those are closed on exec, which one that it inherited cannot be.
func pipes(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range fds {
		to, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil || !strings.HasPrefix(to, "pipe:") {
			continue
		}
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC != 0 {
			n++
		}
	}
	return n
}

// The far ends of the flow read in this process too, so what they read is the
// measure: a relay that copies doubles it, one that splices adds little.
func TestBulkBothWaysIsSplicedAndNotCopied(t *testing.T) {
	const size = 64 << 20
	l := start(t, nil, time.Minute, nil)
	before := copied(t)
	var wg sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{l.client, l.server}, {l.server, l.client}} {
		wg.Go(func() { send(way[0], rand.New(rand.NewPCG(1, 1)), size) })
		wg.Go(func() { receive(way[1]) })
	}
	wg.Wait()
	l.wait(t)
	byRelay := copied(t) - before - 2*size
	t.Logf("%.1f%% of the bytes were copied", 100*float64(byRelay)/(2*size))
	if limit := int64(2 * size / 4); byRelay > limit {
		t.Errorf("the relay copied %d of %d bytes, want at most %d", byRelay, 2*size, limit)
	}
}

func TestAStalledTransferHoldsAPipeAndAnIdleFlowNone(t *testing.T) {
	collectPipes(t)
	l := start(t, nil, time.Minute, nil)
	stall(l)
	if got := pipes(t); got == 0 {
		t.Error("a stalled bulk transfer holds no pipe, so it was not spliced")
	}
	l.server.CloseWrite()
	if _, err := io.Copy(io.Discard, l.client); err != nil {
		t.Fatal(err)
	}
	collectPipes(t) // the flow is still open upwards
	l.client.CloseWrite()
	l.wait(t)
}

// collectPipes waits until the process's cache of unused pipes has been emptied
// by the collector, and none is left.
func collectPipes(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for pipes(t) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors of pipes are held, want none", pipes(t))
		}
		runtime.GC()
	}
}

func TestPipeLeavesNoGoroutineBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	for i := range 20 {
		l := start(t, nil, time.Minute, nil)
		switch i % 3 {
		case 0:
			l.client.Close()
			l.server.Close()
		case 1:
			Abort(l.client)
		case 2:
			l.cancel(nil)
		}
		l.wait(t)
	}
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, want %d", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}
