package dnsrouter

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// Neighbour is another resolver of this machine, such as dnsmasq, that may know
// local names which Local does not know. It is asked only for those that it is
// known not to send on (LocalRules).
type Neighbour interface {
	Exchanger
	Here() bool // whether there is one at present
}

// neighbourTime bounds the asking: it has nobody else to ask.
const neighbourTime = time.Second

// askNeighbour has a local name that we do not know answered on this machine.
// It is never asked of anybody else.
func (r *Router) askNeighbour(ctx context.Context, plan *Plan, q *question, from netip.Addr) ([]byte, error) {
	device := r.share(from)
	switch {
	case plan.Neighbour == nil || !plan.Neighbour.Here():
		return q.negative(wire.RcodeNXDomain), nil
	case q.hurry:
		return nil, errLater
	case !r.nearby.enter(device):
		return q.failed(wire.EDENoAuthority, errBusy.Error()), nil
	}
	defer r.nearby.leave(device)
	ctx, cancel := context.WithTimeout(ctx, neighbourTime)
	defer cancel()
	answer, err := plan.neighbourAnswer(ctx, q)
	switch {
	case r.outdated(plan, err):
		return nil, errOutdated
	case err != nil:
		r.log.Debug("asking this machine's resolver", "name", q.name, "err", err)
		return q.failed(wire.EDENetwork, "this machine's resolver gave no answer"), nil
	}
	return q.fromAnswer(answer)
}

// neighbourAnswer takes private addresses, which are what is asked for.
func (p *Plan) neighbourAnswer(ctx context.Context, q *question) (wire.Scrubbed, error) {
	msg, err := p.Neighbour.Exchange(ctx, upstream.Question{Name: strings.Clone(q.name), Type: q.Type, Class: q.Class})
	if err != nil {
		return wire.Scrubbed{}, err
	}
	response, err := wire.ParseResponse(msg)
	if err != nil {
		return wire.Scrubbed{}, err
	}
	return response.Scrub(nil, wire.Filter{Drop: p.isFake})
}

// isFake tells addresses that are never anybody's real ones.
func (p *Plan) isFake(a netip.Addr) bool {
	return p.Config.Fake4.Contains(a) || p.Config.Fake6.Contains(a)
}
