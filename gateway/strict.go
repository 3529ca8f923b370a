package gateway

import (
	"errors"
	"sync"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/gateway/relay"
)

// errOutdated ends flows that a strict reload would send another way.
var errOutdated = errors.New("a reload sends it another way")

// relayed are the connections under way, so that a strict reload can judge them
// anew. What they were judged by is theirs already; to be found costs each a
// place in the map.
type relayed struct {
	mu    sync.Mutex         // guards the field below
	flows map[*opening]error // why it was ended from here; nil: it goes on
}

func newRelayed() *relayed { return &relayed{flows: make(map[*opening]error)} }

// enter adds a connection whose facts and verdict no longer change.
func (r *relayed) enter(o *opening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flows[o] = nil
}

// leave removes a connection and says why it was ended from here, if it was.
func (r *relayed) leave(o *opening) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.flows[o]
	delete(r.flows, o)
	return err
}

// end resets both sides of the connections that are chosen.
func (r *relayed) end(chosen func(f *flow, v policy.Verdict) bool, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for o, ended := range r.flows {
		if ended == nil && chosen(o.flow, o.verdict) {
			r.flows[o] = cause
			relay.Abort(o.client)
			relay.Abort(o.upstream)
		}
	}
}

// outdated says that the current plan is strict and would send the flow another
// way than the verdict did. A way that cannot be told without asking somebody is
// another. Whoever begins to carry a flow asks once it can be found: a reload
// either finds the flow, or is seen here.
func (g *Gateway) outdated(f *flow, v policy.Verdict) bool {
	plan := g.plan.Load()
	if !plan.Strict {
		return false
	}
	facts := f.facts
	facts.Client = plan.Policy.Client(f.device) // the number is another policy's
	return plan.Policy.Decide(facts).Outbound != v.Outbound
}

// endOutdated ends the flows under way that a strict plan sends another way.
// Those that were handed back are the kernel's; only our memory of them goes.
func (g *Gateway) endOutdated() {
	g.relayed.end(g.outdated, errOutdated)
	for _, f := range g.udp.all() {
		if f.isOutdated() {
			f.close(errOutdated)
		}
	}
}

// isOutdated says whether the flow is open and goes another way than it would now.
func (f *udpFlow) isOutdated() bool {
	f.mu.Lock()
	fl, v, state := f.flow, f.verdict, f.state
	f.mu.Unlock()
	return (state == udpOpen || state == udpHanded) && f.s.g.outdated(&fl, v)
}
