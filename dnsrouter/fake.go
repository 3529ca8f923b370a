package dnsrouter

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/cache"
	"github.com/fairlead/fairlead/dnsrouter/fakeip"
	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/fairlead/fairlead/gateway/policy"
)

// fake answers with the addresses that stand for the name. HTTPS and SVCB
// records, which could carry real addresses, do not exist for a faked name. With
// the pool exhausted the answer is real, asked of the upstream that may know of
// the name.
func (r *Router) fake(ctx context.Context, plan *running, q *question, ways policy.Ways) ([]byte, error) {
	if q.Type != wire.TypeA && q.Type != wire.TypeAAAA {
		r.count.fake.Add(1)
		return q.withheld(), nil
	}
	addr, ok, err := r.assign(q)
	switch {
	case errors.Is(err, errLater):
		return nil, err
	case err != nil:
		r.log.Warn("telling the kernel of a fake address", "name", q.name, "err", err)
		return q.failed(wire.EDEOther, "the kernel could not be told of the address"), nil
	case !ok:
		return r.real(ctx, plan, q, source{upstream: ways.Upstream})
	case !addr.IsValid():
		return q.withheld(), nil
	}
	if plan.kernelWay(ways) >= FirstInterface {
		if reply, err := r.lead(ctx, plan, q, ways.Upstream, addr); reply != nil || err != nil {
			return reply, err
		}
	}
	r.count.fake.Add(1)
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeSuccess)
	reply.EDE(wire.EDEForged, "")
	reply.Addr(plan.Config.FakeTTL, addr)
	return q.finish(&reply), nil
}

// assign gives the fake address of the type that is asked for, which the kernel
// knows by then. It says no when the pool is exhausted, or almost so by the same
// device; the address is invalid where its family has no range.
func (r *Router) assign(q *question) (addr netip.Addr, ok bool, err error) {
	pool := r.deps.Pool
	slot, fresh, ok := pool.Answer(q.name)
	if !ok {
		slot, fresh, ok = r.assignNew(q)
	}
	if !ok {
		return addr, false, nil
	}
	v4, v6 := pool.Addrs(slot)
	if fresh {
		if q.hurry {
			return addr, true, errLater
		}
		if err := r.deps.Fakes.AddFake(v4, v6); err != nil {
			return addr, true, err
		}
		r.reals.forget(v4, v6)
		pool.Told(slot)
	}
	if q.Type == wire.TypeAAAA {
		return v6, true, nil
	}
	return v4, true, nil
}

// assignNew gives a slot to a name that has none.
func (r *Router) assignNew(q *question) (slot fakeip.Slot, fresh, ok bool) {
	stats, now := r.deps.Pool.Stats(), time.Now()
	if !r.takings.allow(shareOf(q.device), stats, now) {
		return 0, false, false
	}
	r.stream.note(stats.Reserved, now)
	return r.deps.Pool.Assign(q.name)
}

// lead has the kernel lead a fake address to the real one of a name that leaves
// through an interface. A reply is given only if the name has no address, or if
// it cannot be led. A nil one means that the fake address can be answered.
func (r *Router) lead(ctx context.Context, plan *running, q *question, upstreamName string, fake netip.Addr) ([]byte, error) {
	way := plan.fakeWay(q.name)
	if way < FirstInterface {
		return nil, nil
	}
	addrs, rcode, err := r.behind(ctx, plan, q, upstreamName)
	switch {
	case errors.Is(err, errLater):
		return nil, err
	case r.outdated(plan.Plan, err):
		return nil, errOutdated
	case err != nil:
		r.log.Debug("resolving for an interface", "name", q.name, "err", err)
		return q.failed(reason(err), "upstream "+upstreamName+" gave no answer"), nil
	case len(addrs) == 0:
		return q.negative(rcode), nil
	case r.reals.stands(fake, q.name, addrs, way):
		return nil, nil
	case q.hurry:
		return nil, errLater
	}
	current := func() bool { return r.plan.Load() == plan }
	switch err := r.reals.set(fake, strings.Clone(q.name), addrs, way, current); {
	case errors.Is(err, errOutdated):
		return nil, err
	case err != nil:
		r.log.Warn("telling the kernel of a fake address", "name", q.name, "err", err)
		return q.failed(wire.EDEOther, "the kernel could not be told of the address"), nil
	}
	return nil, nil
}

// unseen sets the answers apart that no client is given from those that are.
const unseen = 1 << 15

// behind gives the real addresses of a faked name, of the type that is asked
// for. They stay between the upstream and the kernel.
func (r *Router) behind(ctx context.Context, plan *running, q *question, upstreamName string) (addrs []netip.Addr, rcode uint16, err error) {
	now := time.Now()
	view := uint16(q.client) | unseen
	state := q.recall(plan.cache, view, now)
	failed := q.failure(plan.cache, view, now)
	switch {
	case state == cache.Fresh, state == cache.Ending, state == cache.Stale && failed == cache.Fresh:
		r.count.cached.Add(1)
		return appendAddrs(nil, q.out), wire.Rcode(q.out), nil
	case failed == cache.Fresh:
		return nil, 0, errLately
	case q.hurry:
		return nil, 0, errLater
	}
	answer, err := r.fetch(ctx, plan, q, source{upstream: upstreamName}, view)
	switch {
	case err == nil:
		q.keep(plan.cache, view, answer, plan.Config.ServeStale, now)
		return answer.Addrs, answer.Rcode, nil
	case state == cache.Stale:
		return appendAddrs(nil, q.out), wire.Rcode(q.out), nil
	}
	return nil, 0, err
}
