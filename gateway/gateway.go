// Package gateway carries the flows that nftables diverts: it identifies the
// client, names the destination, decides, dials, and relays.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// PacketConn is one UDP mapping that many peers share. It is an alias, so that
// whoever implements Outbound need not import this package.
type PacketConn = interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	SetReadDeadline(t time.Time) error
	Close() error
}

// Outbound is a way that a flow can leave by. A non-empty host is dialled by
// that name, with the port of to; the address of to is then not used. What DialTCP
// gives may not have told its peer yet that it is connected, until something is
// written or TCP_QUICKACK is set.
type Outbound interface {
	DialTCP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error)
	DialUDP(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error)
	ListenUDP(ctx context.Context, v6 bool) (PacketConn, error)
}

// Names gives back the name that a fake address stands for. Hold keeps the
// address from being given to another name until Release.
type Names interface {
	Contains(addr netip.Addr) bool
	Hold(addr netip.Addr) (name string, ok bool)
	Release(addr netip.Addr)
}

// History tells which names a device was given an address for, latest first.
type History interface {
	NamesOf(d policy.Device, addr netip.Addr) []string
}

// Devices identifies the sender of a flow.
type Devices interface {
	Device(addr netip.Addr) policy.Device
}

// Sender sends to clients from addresses that are not ours.
type Sender interface {
	Send(payload []byte, from, to netip.AddrPort) error
	Unreachable(client, dialled netip.AddrPort) error // as if nothing answered at dialled
}

// Resolver finds a name's addresses through one upstream, for rules with
// resolve '1'.
type Resolver interface {
	Resolve(ctx context.Context, upstream, host string) ([]netip.Addr, error)
}

// Plan is one generation of the configuration. A flow keeps the plan that it
// began with, unless a later one is Strict.
type Plan struct {
	Policy    *policy.Policy
	Sniff     bool                // the first bytes of a flow may be looked at
	Strict    bool                // flows that began under another plan end if this one sends them elsewhere
	Outbounds map[string]Outbound // every outbound that the policy can name, except reject
}

// Limits bound what clients can make the gateway hold.
type Limits struct {
	TCP          int           // relayed connections; one device may have two thirds of them
	UDP          int           // relayed UDP flows; one client address may have a quarter, its oldest idle one makes room
	TCPIdle      time.Duration // a connection without a byte either way is closed after this
	UDPIdle      time.Duration // likewise a UDP flow; RFC 4787 REQ-5 asks for two minutes at least
	PendingUDP   int           // flows whose way is not decided yet; one client may have half of them
	PendingBytes int           // datagram bytes that one of them may hold
}

// defaultLimits suit a router with 128 MB.
func defaultLimits() Limits {
	return Limits{
		TCP: 4096, UDP: 4096,
		TCPIdle: 2 * time.Hour, UDPIdle: 3 * time.Minute,
		PendingUDP: 256, PendingBytes: 8 << 10,
	}
}

// dialTime bounds a dial, so that a client hears within five seconds that a
// node is dead.
const dialTime = 4500 * time.Millisecond

// Config is what a Gateway is made of. Every field but HandBack and Limits is
// needed.
type Config struct {
	Names    Names
	History  History
	Devices  Devices
	Resolve  Resolver
	Sender   Sender
	HandBack HandBack // nil: the kernel cannot take flows back
	Log      *slog.Logger
	Limits   Limits // zero: what suits a router with 128 MB
}

// Gateway carries diverted flows by the current Plan.
type Gateway struct {
	cfg     Config
	log     *slog.Logger
	plan    atomic.Pointer[Plan]
	tcp     *census
	relayed *relayed
	tally   *tally
	udp     *sessions

	handedBack atomic.Int64 // UDP flows, since the start
}

// New returns a Gateway that follows plan.
func New(cfg Config, plan *Plan) *Gateway {
	if cfg.Limits == (Limits{}) {
		cfg.Limits = defaultLimits().within(allowedFiles())
	}
	g := &Gateway{cfg: cfg, log: cfg.Log, tcp: newCensus(cfg.Limits.TCP), relayed: newRelayed(), tally: newTally()}
	g.udp = newSessions(g)
	g.plan.Store(plan)
	return g
}

// SetPlan makes new flows follow plan. Flows under way keep theirs, unless it is
// strict: those that it sends elsewhere are ended.
func (g *Gateway) SetPlan(plan *Plan) {
	g.plan.Store(plan)
	if plan.Strict {
		g.endOutdated()
	}
}

// Status returns how many flows there are and what each outbound carried.
func (g *Gateway) Status() Status {
	s := g.tally.status()
	s.TCP, s.UDP, s.HandedBack = g.tcp.total(), g.udp.count(), g.handedBack.Load()
	return s
}

// ServeTCP accepts diverted connections until ctx ends, then waits for those
// under way to be closed.
func (g *Gateway) ServeTCP(ctx context.Context, l *net.TCPListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var flows sync.WaitGroup
	defer flows.Wait()
	failing := false
	for {
		c, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting diverted connections: %w", err)
		case err != nil:
			// Out of descriptors or memory: whoever waits in the queue is
			// served when a flow ends.
			if !failing {
				g.log.Warn("accepting a diverted connection", "err", err)
			}
			failing = true
			pause(ctx, 50*time.Millisecond)
			continue
		}
		failing = false
		flows.Add(1)
		go func() {
			defer flows.Done()
			g.carryTCP(ctx, c)
		}()
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
