package relay

import (
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// checksPerIdle is how often a flow is looked at within its idle time. The
// hot path then needs no clock, at the price of ending a flow that much late.
const checksPerIdle = 4

// An idleWatch aborts its flow once nothing has moved for idle.
type idleWatch struct {
	flow *flow
	idle time.Duration

	mu      sync.Mutex // guards the fields below
	timer   *time.Timer
	stopped bool
	seen    uint64 // progress at the last check; the first is soon enough
	quiet   int    // checks in a row that found nothing new
}

// watchIdle starts watching f; an idle time of zero is no limit.
func watchIdle(f *flow, idle time.Duration) *idleWatch {
	w := &idleWatch{flow: f, idle: idle}
	if idle <= 0 {
		return w
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(w.period(), w.check)
	return w
}

func (w *idleWatch) period() time.Duration {
	return max(w.idle/checksPerIdle, time.Millisecond)
}

func (w *idleWatch) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	now := w.flow.progress()
	if now != w.seen {
		w.seen, w.quiet = now, 0
	} else {
		w.quiet++
	}
	if w.quiet >= checksPerIdle {
		w.flow.abort(fmt.Errorf("%w (%s)", ErrIdle, w.idle))
		return
	}
	w.timer.Reset(w.period())
}

// stop ends the watch; the flow is not aborted by it afterwards.
func (w *idleWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// progress is a number that grows whenever a byte of the flow moves. What a
// peer acknowledges counts too: a slow reader drains the kernel's buffers long
// after the last byte was handed to them.
func (f *flow) progress() uint64 {
	return uint64(f.counts.Up.Load()) + uint64(f.counts.Down.Load()) + acked(f.client) + acked(f.upstream)
}

// acked is how many bytes the peer of c has acknowledged; 0 where c is not TCP.
func acked(c net.Conn) (bytes uint64) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			bytes = info.Bytes_acked
		}
	})
	return bytes
}
