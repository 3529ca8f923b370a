package dnsrouter

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/cache"
	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/fairlead/fairlead/gateway/policy"
)

// clientPatience is how long a client waits for a new answer while there is an
// old one to give (RFC 8767 section 5).
const clientPatience = 1800 * time.Millisecond

// Why there is no answer: too many questions are being asked at once; the
// upstream's servers answered that they cannot; nobody answered, lately.
var (
	errBusy   = errors.New("too many questions under way")
	errServer = errors.New("the server failed")
	errLately = errors.New("asked in vain a moment ago")
)

// real answers with the name's real records: from the cache, else from the
// upstream of the name's way, else, if that fails, from what the cache kept.
// It never asks another upstream.
func (r *Router) real(ctx context.Context, plan *running, q *question, src source) ([]byte, error) {
	now := time.Now()
	view := q.view()
	state := q.recall(plan.cache, view, now)
	switch state {
	case cache.Ending:
		r.renew(ctx, plan, q, src)
		fallthrough
	case cache.Fresh:
		r.count.cached.Add(1)
		r.rememberStored(plan.Plan, q, now)
		return q.adopt(false)
	}
	failed := q.failure(plan.cache, view, now)
	switch {
	case state == cache.Miss && failed == cache.Fresh:
		return q.failed(reason(errLately), errLately.Error()), nil
	case q.hurry:
		q.missed, q.src = plan, src
		return nil, errLater
	case state == cache.Stale:
		return r.aged(ctx, plan, q, src, failed)
	}
	answer, err := r.ask(ctx, plan, q, src)
	switch {
	case r.outdated(plan.Plan, err):
		return nil, errOutdated
	case err != nil:
		r.log.Debug("answering", "name", q.name, "upstream", src.upstream, "err", err)
		return q.failed(reason(err), "upstream "+src.upstream+" gave no answer"), nil
	}
	return r.given(plan.Plan, q, answer)
}

// aged answers where the cache has an old answer: with a new one if that comes
// in time, with the old one if not, and at once where nobody answered the last
// time. The old one is renewed meanwhile, by the upstream that gave it.
func (r *Router) aged(ctx context.Context, plan *running, q *question, src source, failed cache.State) ([]byte, error) {
	if failed == cache.Fresh {
		return r.stale(plan.Plan, q)
	}
	renewal := r.renew(ctx, plan, q, src)
	device := shareOf(q.device)
	if failed == cache.Stale || renewal == nil || !r.inFlight.enter(device) {
		return r.stale(plan.Plan, q)
	}
	defer r.inFlight.leave(device)
	patience := time.NewTimer(clientPatience)
	defer patience.Stop()
	select {
	case <-renewal.done:
		switch {
		case renewal.err == nil:
			return r.given(plan.Plan, q, renewal.answer)
		case r.outdated(plan.Plan, renewal.err):
			return nil, errOutdated
		}
	case <-patience.C:
	}
	return r.stale(plan.Plan, q)
}

// stale gives the old answer in q.out. What was known of its addresses may have
// ended with it.
func (r *Router) stale(plan *Plan, q *question) ([]byte, error) {
	now := time.Now()
	if err := r.learn(plan, q, appendAddrs(nil, q.out), 0, now); err != nil {
		return q.failed(wire.EDEOther, "the kernel could not be told of the address"), nil
	}
	r.count.cached.Add(1)
	r.rememberStored(plan, q, now)
	return q.adopt(true)
}

// given is a new answer, and the note that the device has it.
func (r *Router) given(plan *Plan, q *question, answer wire.Scrubbed) ([]byte, error) {
	r.remember(plan, q, answer.Addrs, time.Duration(answer.TTL)*time.Second, time.Now())
	return q.fromAnswer(answer)
}

// rememberStored takes note that the device is given the answer in q.out. The
// kernel knows of its addresses from when it came.
func (r *Router) rememberStored(plan *Plan, q *question, now time.Time) {
	var few [4]netip.Addr
	r.remember(plan, q, appendAddrs(few[:0], q.out), 0, now)
}

func (r *Router) remember(plan *Plan, q *question, addrs []netip.Addr, ttl time.Duration, now time.Time) {
	if len(addrs) > 0 && !q.stranger && plan.Policy.Mode(q.client) != policy.Off {
		r.history.record(q.device, q.name, addrs, ttl, now)
	}
}

func appendAddrs(dst []netip.Addr, stored []byte) []netip.Addr {
	response, err := wire.ParseResponse(stored)
	if err != nil {
		return dst
	}
	return response.AppendAddrs(dst)
}

// adopt makes a reply of the stored message in q.out.
func (q *question) adopt(stale bool) ([]byte, error) {
	reply, err := wire.Adopt(q.out, 0, q.msg, &q.Query)
	switch {
	case err != nil:
		return q.failed(wire.EDEOther, err.Error()), nil
	case stale && wire.Rcode(q.out) == wire.RcodeNXDomain:
		reply.EDE(wire.EDEStaleNXDomain, "")
	case stale:
		reply.EDE(wire.EDEStale, "")
	}
	return q.finish(&reply), nil
}

func (q *question) fromAnswer(answer wire.Scrubbed) ([]byte, error) {
	reply, err := wire.FromStored(q.out[:0], answer.Msg, q.msg, &q.Query)
	if err != nil {
		return q.failed(wire.EDEOther, err.Error()), nil
	}
	if answer.Dropped > 0 && len(answer.Addrs) == 0 && (q.Type == wire.TypeA || q.Type == wire.TypeAAAA) {
		reply.EDE(wire.EDEFiltered, "private addresses were removed")
	}
	if answer.Negative && answer.TTL == 0 {
		reply.Negative(negativeTTL) // the upstream did not say for how long
	}
	return q.finish(&reply), nil
}

// reason is why there is no answer (RFC 8914).
func reason(err error) uint16 {
	switch {
	case errors.Is(err, errBusy):
		return wire.EDEOther
	case errors.Is(err, errLately):
		return wire.EDECachedError
	case errors.Is(err, errServer), errors.Is(err, context.DeadlineExceeded):
		return wire.EDENoAuthority
	}
	return wire.EDENetwork
}
