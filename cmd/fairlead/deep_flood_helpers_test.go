package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// latencies are how long the same thing took, many times.
type latencies []time.Duration

func (l latencies) p99() time.Duration {
	sorted := slices.Sorted(slices.Values(l))
	return sorted[len(sorted)*99/100]
}

// experience is what a client notices of the router.
type experience struct {
	connections latencies // through the node, from the SYN to the echo of the first line
	fakes       latencies // questions for new names that leave through the node
	answers     latencies // questions for new names that leave directly
	forwarded   latencies // connections that the kernel forwards: the daemon has no part in them
}

func (e experience) String() string {
	return fmt.Sprintf("%d rounds; p99 of connections %v, of fake answers %v, of real answers %v, of forwarded connections %v",
		len(e.connections), e.connections.p99(), e.fakes.p99(), e.answers.p99(), e.forwarded.p99())
}

// live has a client do what clients do until the context ends, one thing after
// the other. Nothing that it does may fail.
func (h *home) live(ctx context.Context, t *testing.T, c *lab.Client, label string) experience {
	t.Helper()
	var e experience
	ask := func(name string, to *latencies) netip.Addr {
		began := time.Now()
		a, err := c.Lookup(t.Context(), h.At.RouterLAN.V4, name, lab.TypeA, "udp")
		*to = append(*to, time.Since(began))
		if err != nil || len(a.Addrs) != 1 {
			t.Errorf("asking for %s: code %d, %v, %v", name, a.RCode, a.Addrs, err)
			return netip.Addr{}
		}
		return a.Addrs[0]
	}
	connect := func(addr netip.Addr, want path, to *latencies) {
		began := time.Now()
		way, err := h.tryTCP(c, addr)
		*to = append(*to, time.Since(began))
		if err != nil || way != want {
			t.Errorf("connecting to %s: %s, %v; want it %s", addr, way, err, want)
		}
	}
	for i := 0; ctx.Err() == nil && !t.Failed(); i++ {
		fake := ask(fmt.Sprintf("%s%d.foreign.example", label, i), &e.fakes)
		connect(fake, byNode, &e.connections)
		real := ask(fmt.Sprintf("%s%d.domestic.example", label, i), &e.answers)
		connect(real, byKernel, &e.forwarded)
	}
	return e
}

// slack is what a p99 may be above twice the idle one. The flood's sender, the
// lab's servers and the daemon share the cores of the machine that runs the
// test, often with other tests; on a router the sender has its own. What that
// costs is told by the connections that the daemon has no part in: one through
// the daemon passes five processes' turns for one of theirs. What the router
// itself would do wrong costs more: a lost SYN or question a second at least.
func slack(flooded experience) time.Duration {
	return 5*flooded.forwarded.p99() + 250*time.Millisecond
}

// starved is a p99 that no shortage of the test's own machine explains: a SYN or
// a question was lost twice.
const starved = 4 * time.Second

// wantUnnoticed compares what a client noticed during a flood and before. What
// is above the slack is only told: on a machine with other work the same code
// is now within it and now not, and a test must not fail by the clock. That
// nothing failed is for whoever measured.
func wantUnnoticed(t *testing.T, idle, flooded experience) {
	t.Helper()
	for _, c := range []struct {
		what          string
		idle, flooded latencies
	}{
		{"new connections", idle.connections, flooded.connections},
		{"fake answers", idle.fakes, flooded.fakes},
		{"real answers", idle.answers, flooded.answers},
	} {
		got, most := c.flooded.p99(), 2*c.idle.p99()+slack(flooded)
		if got > starved {
			t.Errorf("p99 of the other client's %s = %v (idle: %v)", c.what, got, c.idle.p99())
		} else if got > most {
			t.Logf("p99 of the other client's %s = %v, more than %v (idle: %v)", c.what, got, most, c.idle.p99())
		}
	}
}

// sockaddr is an IPv4 address for the system calls.
func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// sockets are bare IPv4 sockets of a namespace: ten thousand of Go's would cost
// this process more than they cost the router.
type sockets []int

// open makes n sockets in a namespace.
func open(t *testing.T, ns *nstest.NS, kind, n int) sockets {
	t.Helper()
	var all sockets
	ok(t, ns.Do(func() error {
		for range n {
			fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return fmt.Errorf("opening socket %d of %d: %w", len(all)+1, n, err)
			}
			all = append(all, fd)
		}
		return nil
	}))
	t.Cleanup(all.close)
	return all
}

func (s sockets) close() {
	for i, fd := range s {
		if fd >= 0 {
			unix.Close(fd)
		}
		s[i] = -1
	}
}

// connect connects every socket, so many a second, without waiting for any.
func (s sockets) connect(ctx context.Context, perSecond int, to netip.AddrPort) (tried int) {
	return pace(ctx, perSecond, func(i int) {
		if i < len(s) {
			unix.Connect(s[i], sockaddr(to)) // EINPROGRESS: alive tells how it went
		}
	})
}

// alive counts the connections that were not reset.
func (s sockets) alive() (n int) {
	for _, fd := range s {
		if failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && failed == 0 {
			wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
			if unix.Poll(wait, 0); wait[0].Revents == unix.POLLOUT {
				n++
			}
		}
	}
	return n
}

// pace calls send at a rate until the context ends, in a millisecond's portions.
func pace(ctx context.Context, perSecond int, send func(i int)) (sent int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return sent
		case <-tick.C:
			for due := int(time.Since(began).Seconds() * float64(perSecond)); sent < due && ctx.Err() == nil; sent++ {
				send(sent)
			}
		}
	}
}

// query is a question for an A record, with the recursion bit.
func query(id uint16, name string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	b = append(b, wireName(name)...)
	return append(b, 0, lab.TypeA, 0, 1)
}

// descriptors counts those that the daemon has open.
func (h *home) descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.daemon.Pid()))
	ok(t, err)
	return len(entries)
}

// cpu is the processor time that the daemon has used so far (proc(5), stat).
func (h *home) cpu(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.daemon.Pid()))
	ok(t, err)
	const user, system, tick = 11, 12, 10 * time.Millisecond // fields behind the name, which may have spaces; USER_HZ is 100
	after := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	var used time.Duration
	for _, field := range []string{after[user], after[system]} {
		ticks, err := strconv.Atoi(field)
		ok(t, err)
		used += time.Duration(ticks) * tick
	}
	return used
}
