package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// flooded is a home with a client that floods and one that should not notice.
type flooded struct {
	*home
	hog, other *lab.Client
}

func newFlooded(t *testing.T, c lab.Config) *flooded {
	t.Helper()
	c.Main = []string{"option log_level 'warn'"}
	h := newHome(t, lab.Options{Clients: []string{"hog", "other"}}, c)
	return &flooded{h, h.Clients["hog"], h.Clients["other"]}
}

// working has the other client do its things while flood runs, which ends with
// its context.
func (f *flooded) working(t *testing.T, long time.Duration, flood func(ctx context.Context)) experience {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	before := f.cpu(t)
	var flooding sync.WaitGroup
	flooding.Go(func() { flood(ctx) })
	e := f.live(ctx, t, f.other, canary())
	flooding.Wait()
	t.Logf("the daemon used %v in %v, %d MB and %d descriptors, for flows %+v; the other client had %s",
		f.cpu(t)-before, long, f.status(t).RSSBytes>>20, f.descriptors(t), f.status(t).Flows, e)
	return e
}

// during compares what the other client notices of a quiet second with what it
// notices of the flood.
func (f *flooded) during(t *testing.T, long time.Duration, flood func(ctx context.Context)) {
	t.Helper()
	idle := f.working(t, time.Second, func(context.Context) {})
	wantUnnoticed(t, idle, f.working(t, long, flood))
}

// released waits until the daemon holds nothing more of any flow.
func (f *flooded) released(t *testing.T, descriptors int) {
	t.Helper()
	until(t, patience, "the end of all flows", func() bool { return f.status(t).Flows.TCP == 0 })
	const kept = 4 + 2*128 // upstream connections, the one that asks for the status, and sockets of both families for further questions
	until(t, patience, "the release of all descriptors", func() bool { return f.descriptors(t) <= descriptors+kept })
}

func TestTenThousandSilentConnectionsOfOneClientAreNotNoticedByAnother(t *testing.T) {
	const (
		connections = 10000
		perSecond   = 4000
		more        = 400          // while the others stand
		allowed     = 4096 * 2 / 3 // of one device
	)
	f := newFlooded(t, lab.Config{})
	before := f.descriptors(t)
	web := at(f.At.Foreign.V4, 443)
	idle := f.working(t, time.Second, func(context.Context) {})
	silent := open(t, f.hog.NS, unix.SOCK_STREAM, connections+more)
	f.working(t, connections/perSecond*time.Second+time.Second, func(ctx context.Context) {
		silent[:connections].connect(ctx, perSecond, web)
	})
	standing := f.working(t, 2*time.Second, func(ctx context.Context) { silent[connections:].connect(ctx, more/2, web) })
	wantUnnoticed(t, idle, standing)
	until(t, soon, "the refusal of those beyond the device's share", func() bool { return silent.alive() <= allowed })
	if got := silent.alive(); got < allowed/2 {
		t.Errorf("%d of the connections stand, want about %d", got, allowed)
	}
	first := f.status(t).RSSBytes
	silent.close()
	f.released(t, before)

	again := open(t, f.hog.NS, unix.SOCK_STREAM, connections)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	again.connect(ctx, connections, web)
	if second := f.status(t).RSSBytes; second > first*3/2 {
		t.Errorf("%d MB resident after a second flood, %d MB after the first; want no more than half more", second>>20, first>>20)
	}
	again.close()
	f.released(t, before)
}

func TestAFloodOfNewUDPFlowsIsNotNoticedByAnotherClient(t *testing.T) {
	for name, c := range map[string]lab.Config{"directly": {}, "through the node": {Default: "node"}} {
		t.Run(name, func(t *testing.T) {
			f := newFlooded(t, c)
			before := f.descriptors(t)
			const sockets, perSecond, allowed = 1000, 5000, 4096 / 4 // of one client
			ports := open(t, f.hog.NS, unix.SOCK_DGRAM, sockets)
			f.during(t, 2*time.Second, func(ctx context.Context) {
				pace(ctx, perSecond, func(i int) {
					to := at(f.At.Foreign.V4, uint16(1024+i/sockets))
					unix.Sendto(ports[i%sockets], []byte("hello"), 0, sockaddr(to))
				})
			})
			if got := f.status(t).Flows.UDP; got > allowed {
				t.Errorf("%d UDP flows stand, want at most %d", got, allowed)
			}
			const each = 2 // a SOCKS5 association is a connection and a socket
			if got := f.descriptors(t); got > before+each*allowed+64 {
				t.Errorf("%d descriptors are open, %d before; want at most %d for each flow", got, before, each)
			}
		})
	}
}

func TestAFloodOfRandomNamesIsNotNoticedByAnotherClient(t *testing.T) {
	for _, zone := range []string{"foreign.example", "domestic.example"} {
		t.Run(zone, func(t *testing.T) {
			f := newFlooded(t, lab.Config{})
			before := f.descriptors(t)
			ports := open(t, f.hog.NS, unix.SOCK_DGRAM, 100)
			f.during(t, 2*time.Second, func(ctx context.Context) {
				pace(ctx, 1000, func(i int) {
					name := fmt.Sprintf("r%x.%s", rand.Uint64(), zone)
					unix.Sendto(ports[i%len(ports)], query(uint16(i), name), 0, sockaddr(at(f.At.RouterLAN.V4, 53)))
				})
			})
			f.released(t, before)
		})
	}
}

// A byte now and then keeps a connection from ever being idle.
func TestSlowClientsAreNotNoticedByAnotherClient(t *testing.T) {
	f := newFlooded(t, lab.Config{})
	before := f.descriptors(t)
	hello := entry(t, "stream/go-tls.hex")[0]
	slow := open(t, f.hog.NS, unix.SOCK_STREAM, 600)
	tls, dns := slow[:500], slow[500:]
	f.during(t, 3*time.Second, func(ctx context.Context) {
		connecting, cancel := context.WithTimeout(ctx, time.Second/2)
		defer cancel()
		tls.connect(connecting, 2*len(tls), at(f.At.Foreign.V4, 443))
		connecting, cancel = context.WithTimeout(ctx, time.Second/2)
		defer cancel()
		dns.connect(connecting, 2*len(dns), at(f.At.RouterLAN.V4, 53))
		pace(ctx, 10*len(slow), func(i int) {
			b := hello
			if i%len(slow) >= len(tls) {
				b = append([]byte{1, 0}, query(7, "slow.foreign.example")...)
			}
			if n := i / len(slow); n < len(b) {
				unix.SendmsgN(slow[i%len(slow)], b[n:n+1], nil, nil, unix.MSG_NOSIGNAL)
			}
		})
		a, err := f.other.Lookup(t.Context(), f.At.RouterLAN.V4, "tcp.foreign.example", lab.TypeA, "tcp")
		if err != nil || len(a.Addrs) != 1 {
			t.Errorf("asking over TCP: %v, %v", a.Addrs, err)
		}
	})
	slow.close()
	f.released(t, before)
}

// Questions that wait for a dead upstream pile up; the places of one client do,
// the others' are free.
func TestAFloodOfNamesThatNobodyAnswersLeavesRoomForOthers(t *testing.T) {
	f := newFlooded(t, lab.Config{})
	f.SilenceISP(true)
	ports := open(t, f.hog.NS, unix.SOCK_DGRAM, 100)
	const perSecond = 2000
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var flooding sync.WaitGroup
	flooding.Go(func() {
		pace(ctx, perSecond, func(i int) {
			name := fmt.Sprintf("r%x.domestic.example", rand.Uint64())
			unix.Sendto(ports[i%len(ports)], query(uint16(i), name), 0, sockaddr(at(f.At.RouterLAN.V4, 53)))
		})
	})
	pace(ctx, 1000, func(i int) {
		a, err := f.other.Lookup(t.Context(), f.At.RouterLAN.V4, fmt.Sprintf("n%d.foreign.example", i), lab.TypeA, "udp")
		if err != nil || len(a.Addrs) != 1 || !isFake(a.Addrs[0]) {
			t.Errorf("question %d: %v, %v; want a fake address", i, a.Addrs, err)
			cancel()
		}
	})
	flooding.Wait()
}
