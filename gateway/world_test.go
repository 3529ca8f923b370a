package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

const deadline = 10 * time.Second // of whatever is waited for

// defaultUDPIdle is what New takes for a router.
const defaultUDPIdle = 3 * time.Minute

// next gives what comes next out of ch.
func next[T any](t testing.TB, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(deadline):
		t.Fatalf("waiting for %s: got nothing, want one", what)
	}
	return v
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition that nobody announces.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !holds(); <-tick.C {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("waiting for %s: it did not come\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// none fails if there is something in ch.
func none[T any](t testing.TB, what string, ch <-chan T) {
	t.Helper()
	select {
	case v := <-ch:
		t.Errorf("got %s %+v, want none", what, v)
	default:
	}
}

// leavesNothing fails unless there are as many goroutines and descriptors at
// the end of the test as there are now.
func leavesNothing(t testing.TB) {
	t.Helper()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	t.Cleanup(func() {
		until(t, fmt.Sprintf("no more than %d goroutines and %d descriptors", goroutines, fds), func() bool {
			runtime.GC() // pipes of splices are pooled
			return runtime.NumGoroutine() <= goroutines && descriptors(t) <= fds
		})
	})
}

func descriptors(t testing.TB) int {
	list, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	return len(list)
}

// names are fake addresses and what they stand for.
type names struct {
	within netip.Prefix
	of     map[netip.Addr]string

	mu   sync.Mutex // guards the field below
	held int
}

func (n *names) Contains(addr netip.Addr) bool { return n.within.Contains(addr) }

func (n *names) Hold(addr netip.Addr) (string, bool) {
	name, ok := n.of[addr]
	if ok {
		n.count(1)
	}
	return name, ok
}

func (n *names) Release(netip.Addr) { n.count(-1) }

func (n *names) count(by int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held += by
	return n.held
}

// history is what DNS told every device.
type history struct {
	of    map[netip.Addr][]string
	asked chan netip.Addr // has the latest questions
}

func (h *history) NamesOf(_ policy.Device, addr netip.Addr) []string {
	select {
	case h.asked <- addr:
	default:
	}
	return h.of[addr]
}

// devices are known by their addresses only.
type devices struct{ onLook func() }

func (d *devices) Device(addr netip.Addr) policy.Device {
	if d.onLook != nil {
		d.onLook()
	}
	return policy.Device{Addr: addr}
}

type resolver struct {
	mu    sync.Mutex // guards the fields below
	addrs []netip.Addr
	err   error
	asked []string // upstream and host
}

func (r *resolver) Resolve(_ context.Context, upstream, host string) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, upstream+" "+host)
	return r.addrs, r.err
}

// dialling is what an outbound was asked for, and the far end of what it gave.
type dialling struct {
	host string
	to   netip.AddrPort
	tcp  *net.TCPConn
	udp  *socket
}

// way is an outbound whose far ends are in the test's hands.
type way struct {
	dials chan dialling

	mu   sync.Mutex    // guards the fields below
	err  error         // of every dial
	gate chan struct{} // every dial waits until it is closed, unless it is nil
}

func newWay() *way { return &way{dials: make(chan dialling, 4096)} }

func (w *way) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// shut makes dials wait until open is called.
func (w *way) shut() (open func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gate := make(chan struct{})
	w.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// dial notes d and says whether it succeeds.
func (w *way) dial(ctx context.Context, d dialling) error {
	w.mu.Lock()
	err, gate := w.err, w.gate
	w.mu.Unlock()
	w.dials <- d
	if gate == nil {
		return err
	}
	select {
	case <-gate:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *way) DialTCP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	near, far, err := tcpPair()
	if err != nil {
		return nil, err
	}
	if err := w.dial(ctx, dialling{host: host, to: to, tcp: far}); err != nil {
		near.Close()
		far.Close()
		return nil, err
	}
	return near, nil
}

func (w *way) DialUDP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	s := newSocket()
	return s, w.dial(ctx, dialling{host: host, to: to, udp: s})
}

func (w *way) ListenUDP(ctx context.Context, _ bool) (PacketConn, error) {
	s := newSocket()
	return s, w.dial(ctx, dialling{udp: s})
}

// tcpPair is a TCP connection over loopback.
func tcpPair() (near, far *net.TCPConn, err error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if near, err = net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr)); err != nil {
		return nil, nil, err
	}
	if far, err = l.AcceptTCP(); err != nil {
		near.Close()
		return nil, nil, err
	}
	far.SetDeadline(time.Now().Add(deadline))
	return near, far, nil
}

// message is a datagram with the address at its other end.
type message struct {
	payload string
	peer    netip.AddrPort
}

// socket is a UDP mapping in memory, shared or of its own.
type socket struct {
	net.Conn // what is not implemented is not called
	sent     chan message
	answers  chan message
	broken   chan error
	closed   chan struct{}
	once     sync.Once
}

func newSocket() *socket {
	return &socket{
		sent: make(chan message, 4096), answers: make(chan message, 64),
		broken: make(chan error, 1), closed: make(chan struct{}),
	}
}

func (s *socket) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	case s.sent <- message{string(b), to}:
		return len(b), nil
	}
}

func (s *socket) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case m := <-s.answers:
		return copy(b, m.payload), m.peer, nil
	case err := <-s.broken:
		return 0, netip.AddrPort{}, err
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (s *socket) Write(b []byte) (int, error) { return s.WriteToUDPAddrPort(b, netip.AddrPort{}) }

func (s *socket) Read(b []byte) (int, error) {
	n, _, err := s.ReadFromUDPAddrPort(b)
	return n, err
}

func (s *socket) SetReadDeadline(time.Time) error { return nil }

func (s *socket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *socket) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// answer is what a client was sent.
type answer struct {
	payload  string
	from, to netip.AddrPort
}

// sender keeps what clients are sent.
type sender struct{ sent, refused chan answer }

func newSender() *sender {
	return &sender{sent: make(chan answer, 4096), refused: make(chan answer, 4096)}
}

func (s *sender) Send(payload []byte, from, to netip.AddrPort) error {
	s.sent <- answer{string(payload), from, to}
	return nil
}

func (s *sender) Unreachable(client, dialled netip.AddrPort) error {
	s.refused <- answer{"", dialled, client}
	return nil
}

// world is a gateway between fakes.
type world struct {
	*Gateway
	names    *names
	history  *history
	devices  *devices
	resolver *resolver
	sender   *sender
	direct   *way
	node     *way
	plan     *Plan
}

// Addresses of the world: 127.18.0.1 stands for www.example.com; the others
// are what they are. All are on loopback, so that TCP can reach them.
var (
	fakeAddr  = netip.MustParseAddr("127.18.0.1")
	otherFake = netip.MustParseAddr("127.18.0.2") // stands for other.example
	staleFake = netip.MustParseAddr("127.18.0.9") // stands for nothing
	literal   = netip.MustParseAddr("127.9.0.1")
)

// newWorld makes a gateway that leaves directly where no rule says otherwise.
func newWorld(limits Limits, rules ...policy.Rule) *world {
	w := &world{
		names: &names{
			within: netip.MustParsePrefix("127.18.0.0/16"),
			of:     map[netip.Addr]string{fakeAddr: "www.example.com", otherFake: "other.example"},
		},
		history:  &history{of: make(map[netip.Addr][]string), asked: make(chan netip.Addr, 64)},
		devices:  new(devices),
		resolver: new(resolver),
		sender:   newSender(),
		direct:   newWay(),
		node:     newWay(),
	}
	w.plan = w.planOf(rules...)
	w.Gateway = New(Config{
		Names: w.names, History: w.history, Devices: w.devices, Resolve: w.resolver,
		Sender: w.sender, Log: slog.New(slog.DiscardHandler), Limits: limits,
	}, w.plan)
	return w
}

func (w *world) planOf(rules ...policy.Rule) *Plan {
	return &Plan{
		Policy: policy.New(policy.Config{
			Default: "direct", Sniff: true, Rules: rules, LocalUpstream: "local", RemoteUpstream: "remote",
			Outbounds: []policy.Outbound{{Name: "node", Kind: policy.Node}},
		}),
		Sniff:     true,
		Outbounds: map[string]Outbound{"direct": w.direct, "node": w.node},
	}
}

// nameRule sends a name somewhere, addrRule a prefix.
func nameRule(name, outbound string) policy.Rule {
	p, err := policy.ParsePattern(name)
	if err != nil {
		panic(err)
	}
	return policy.Rule{Name: "name", Domains: []policy.Pattern{p}, Outbound: outbound}
}

func addrRule(prefix, outbound string) policy.Rule {
	return policy.Rule{Name: "addr", Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}, Outbound: outbound}
}
