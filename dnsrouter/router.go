// Package dnsrouter is the LAN's DNS server: it answers each client by the one
// policy, with fake addresses or real ones, and asks only the upstream that may
// know of the name.
package dnsrouter

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/cache"
	"github.com/fairlead/fairlead/dnsrouter/fakeip"
	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway/policy"
)

// WaySink is told which way flows to real addresses leave, before an answer
// with one does. A group is the number of a policy.Client.
type WaySink interface {
	SetWays(all []AddrWay) error
	DelWay(group int, addr netip.Addr) error
}

// AddrWay is which way flows of a group to an address leave, and for how long.
type AddrWay struct {
	Group int
	Addr  netip.Addr
	Way   Way
	TTL   time.Duration
	First bool // no other way was set since the table was made, or what was has ended
}

// FakeSink is told what fake addresses stand for, before an answer with one
// leaves: AddFake for flows that the daemon carries, SetFake for those that the
// kernel carries to a real address.
type FakeSink interface {
	AddFake(v4, v6 netip.Addr) error
	SetFake(fake, real netip.Addr, way Way) error
}

// Exchanger asks one upstream, and nobody else, for no longer than clients wait.
// The response is in wire form, checked to be one to the question.
type Exchanger interface {
	Exchange(ctx context.Context, q upstream.Question) ([]byte, error)
}

// Local knows the names of this network: hosts and leases.
type Local interface {
	Host(name string) (h Host, ok bool)
	NameOf(addr netip.Addr) (name string, ok bool)
	Rules() *LocalRules
}

// Devices identifies who asks. Known does so without waiting, if it can.
type Devices interface {
	Device(addr netip.Addr) policy.Device
	Known(addr netip.Addr) (d policy.Device, ok bool)
}

// Plan is one generation of the configuration. An answer keeps the plan that
// its question was read with.
type Plan struct {
	Config        Config
	Policy        *policy.Policy
	LocalUpstream string               // asked for clients whose mode is off
	Upstreams     map[string]Exchanger // every upstream that the policy can name
	Learns        []bool               // by policy.Client: whether the kernel has a way map for it
	Interfaces    map[string]Way       // ways of interface outbounds
	Neighbour     Neighbour            // may be nil
	// Plain is asked for Config.TimeServers, and for nothing else, when a
	// certificate does not hold at the time of the clock, if the name leaves
	// directly. May be nil.
	Plain Exchanger
}

// Deps is what a Router works with. Local, Own and Subnet may be nil.
type Deps struct {
	Pool    *fakeip.Pool
	Ways    WaySink
	Fakes   FakeSink
	Blocks  BlockSink
	Local   Local
	Devices Devices
	// Own tells the addresses of the router itself. It is given real answers
	// only: a fake one that a service of its holds would fail with us.
	Own func(netip.Addr) bool
	// Subnet gives the prefix of the LAN that an address lies in; ok is false for
	// addresses elsewhere.
	Subnet func(netip.Addr) (prefix netip.Prefix, ok bool)
	Record Recorder // may be nil
	Log    *slog.Logger
}

// A Recorder is told which names are about to be asked of which upstream, if it
// listens: direct says that the name leaves directly, for whom it is asked.
type Recorder interface {
	Listening() bool
	Asking(upstream, name string, direct bool)
}

// running is a Plan in use. It has a cache of its own, because an answer can
// come after the next plan, which might not have asked that upstream.
type running struct {
	*Plan
	cache    *cache.Cache
	renewing *renewals
}

func newRunning(plan *Plan) *running {
	return &running{plan, cache.New(plan.Config.CacheBytes), newRenewals()}
}

// Router answers the questions of clients by the current Plan.
type Router struct {
	deps     Deps
	log      *slog.Logger
	plan     atomic.Pointer[running]
	learned  *learned
	reals    *reals
	history  *History
	inFlight *places // of those that wait for an upstream
	nearby   *places // of those that wait for Plan.Neighbour
	takings  takings
	stream   *stream
	count    counters
	noRules  LocalRules // where Local is nil

	questions sync.Pool // of *question, those that nobody uses
}

type counters struct{ queries, fake, cached, upstream, refused atomic.Int64 }

// Status counts answers since the start. Refused are those that policy or form
// denied an answer.
type Status struct{ Queries, Fake, Cached, Upstream, Refused int64 }

// New returns a Router that follows plan.
func New(deps Deps, plan *Plan) *Router {
	r := &Router{
		deps: deps, log: deps.Log,
		learned:  newLearned(deps.Ways, plan),
		reals:    newReals(deps.Pool, deps.Fakes),
		history:  newHistory(),
		inFlight: newPlaces(maxInFlight, maxInFlightEach),
		nearby:   newPlaces(maxNearby, maxNearbyEach),
		stream:   newStream(),
	}
	r.plan.Store(newRunning(plan))
	return r
}

// SetPlan makes new questions follow plan. What was learned by the old policy
// is judged again before it returns, and cached answers are dropped.
func (r *Router) SetPlan(plan *Plan) error {
	r.plan.Store(newRunning(plan))
	return errors.Join(r.learned.judgeAgain(plan), r.reals.judgeAgain(plan))
}

// Renewed takes note that the kernel's table was made anew with all that the
// pool knows in it, and with empty way maps, which are filled again.
func (r *Router) Renewed() {
	if err := r.learned.restore(); err != nil {
		r.log.Warn("filling the way maps again", "err", err)
	}
	r.reals.lost()
}

// Status returns the counters.
func (r *Router) Status() Status {
	return Status{
		Queries: r.count.queries.Load(), Fake: r.count.fake.Load(), Cached: r.count.cached.Load(),
		Upstream: r.count.upstream.Load(), Refused: r.count.refused.Load(),
	}
}

// History tells which names a device was given an address for.
func (r *Router) History() *History { return r.history }

// Sweep forgets what has expired, until ctx ends.
func (r *Router) Sweep(ctx context.Context) error {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			r.learned.sweep(now)
			r.history.sweep(now)
		}
	}
}
