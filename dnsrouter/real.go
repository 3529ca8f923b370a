package dnsrouter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/cache"
	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/fairlead/fairlead/gateway/policy"
)

// askTime bounds the asking of an upstream, within the five seconds after
// which stub resolvers ask again.
const askTime = 4 * time.Second

// source is whom a question may be asked of, and what the answer is for.
type source struct {
	upstream string
	direct   bool // the name leaves directly whatever its addresses are
	both     bool // a rule with resolve compares the addresses of both families
}

// errBusy says that too many questions are being asked at once.
var errBusy = errors.New("too many questions under way")

// real answers with the name's real records: from the cache, else from the
// upstream of the name's way, else, if that fails, from what the cache kept.
// It never asks another upstream.
func (r *Router) real(ctx context.Context, plan *running, q *question, src source) ([]byte, error) {
	now := time.Now()
	key := q.cacheKey(uint16(q.client))
	stored, state := plan.cache.Get(key, q.out[:0], now)
	if state == cache.Fresh {
		r.count.cached.Add(1)
		q.out = stored
		r.remember(plan.Plan, q, stored, now)
		return q.adopt(nil)
	}
	if q.hurry {
		return nil, errLater
	}
	answer, err := r.ask(ctx, plan, q, src)
	switch {
	case err == nil:
		return q.fromAnswer(answer)
	case state == cache.Stale:
		return r.stale(plan.Plan, q, stored, err)
	}
	r.log.Debug("answering", "name", q.name, "upstream", src.upstream, "err", err)
	code := wire.EDENetwork
	if errors.Is(err, errBusy) {
		code = wire.EDENoAuthority
	}
	return q.failed(code, "upstream "+src.upstream+" gave no answer"), nil
}

// remember takes note that the device is given an answer from the cache. The
// kernel knows of its addresses from when it came.
func (r *Router) remember(plan *Plan, q *question, stored []byte, now time.Time) {
	if plan.Policy.Mode(q.client) == policy.Off {
		return
	}
	var few [4]netip.Addr
	r.history.record(q.device, q.name, appendAddrs(few[:0], stored), 0, now)
}

// stale gives an answer from the cache that is too old, because there is no new
// one: failure is why. What was known of its addresses may have ended with it.
func (r *Router) stale(plan *Plan, q *question, stored []byte, failure error) ([]byte, error) {
	if err := r.learn(plan, q, appendAddrs(nil, stored), 0, time.Now()); err != nil {
		return q.failed(wire.EDENetwork, "the kernel could not be told of the address"), nil
	}
	r.count.cached.Add(1)
	q.out = stored
	return q.adopt(failure)
}

func appendAddrs(dst []netip.Addr, stored []byte) []netip.Addr {
	response, err := wire.ParseResponse(stored)
	if err != nil {
		return dst
	}
	return response.AppendAddrs(dst)
}

// cacheKey keys by view: a client never sees what another view's way told.
func (q *question) cacheKey(view uint16) cache.Key {
	var flags uint8
	if q.DO {
		flags |= 1
	}
	if q.CD {
		flags |= 2
	}
	return cache.Key{View: view, Flags: flags, Type: q.Type, Class: q.Class, Name: q.Name()}
}

// adopt makes a reply of the stored message in q.out. A non-nil failure is why
// it is stale.
func (q *question) adopt(failure error) ([]byte, error) {
	reply, err := wire.Adopt(q.out, 0, q.msg, &q.Query)
	if err != nil {
		return q.failed(wire.EDENetwork, err.Error()), nil
	}
	if failure != nil {
		reply.EDE(wire.EDEStale, "")
	}
	return q.finish(&reply), nil
}

func (q *question) fromAnswer(answer wire.Scrubbed) ([]byte, error) {
	reply, err := wire.FromStored(q.out[:0], answer.Msg, q.msg, &q.Query)
	if err != nil {
		return q.failed(wire.EDENetwork, err.Error()), nil
	}
	if answer.Dropped > 0 && len(answer.Addrs) == 0 && (q.Type == wire.TypeA || q.Type == wire.TypeAAAA) {
		reply.EDE(wire.EDEFiltered, "private addresses were removed")
	}
	if answer.Negative && answer.TTL == 0 {
		reply.Negative(negativeTTL) // the upstream did not say for how long
	}
	return q.finish(&reply), nil
}

// ask has the question answered by its upstream, cleans the answer, tells the
// kernel of its addresses, and keeps it.
func (r *Router) ask(ctx context.Context, plan *running, q *question, src source) (wire.Scrubbed, error) {
	answer, err := r.fetch(ctx, plan, q, src)
	if err != nil {
		return answer, err
	}
	others, err := r.otherFamily(ctx, plan.Plan, q, src)
	if err != nil {
		return answer, err
	}
	now := time.Now()
	ttl := time.Duration(answer.TTL) * time.Second
	if err := r.learn(plan.Plan, q, answer.Addrs, ttl, now, others...); err != nil {
		return answer, err
	}
	if answer.TTL > 0 {
		plan.cache.Put(q.cacheKey(uint16(q.client)), answer.Msg, answer.TTLs, ttl, plan.Config.ServeStale, now)
	}
	return answer, nil
}

// otherFamily gives the addresses of the family that was not asked for, if a
// rule compares both: it sends the name one way, whichever address is dialled.
func (r *Router) otherFamily(ctx context.Context, plan *Plan, q *question, src source) ([]netip.Addr, error) {
	other := wire.TypeA
	switch {
	case !src.both, q.Type != wire.TypeA && q.Type != wire.TypeAAAA:
		return nil, nil
	case q.Type == wire.TypeA && !plan.Config.IPv6:
		return nil, nil
	case q.Type == wire.TypeA:
		other = wire.TypeAAAA
	}
	answer, err := r.exchange(ctx, plan, src, upstream.Question{Name: strings.Clone(q.name), Type: other, Class: q.Class})
	return answer.Addrs, err
}

// exchange asks one upstream and takes out of its answer what does not belong.
func (r *Router) exchange(ctx context.Context, plan *Plan, src source, ask upstream.Question) (wire.Scrubbed, error) {
	u, ok := plan.Upstreams[src.upstream]
	if !ok {
		return wire.Scrubbed{}, fmt.Errorf("no upstream %q is running", src.upstream)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	msg, err := u.Exchange(ctx, ask)
	if err != nil {
		return wire.Scrubbed{}, fmt.Errorf("asking upstream %s for %s: %w", src.upstream, ask.Name, err)
	}
	response, err := wire.ParseResponse(msg)
	if err != nil {
		return wire.Scrubbed{}, fmt.Errorf("reading the answer of upstream %s for %s: %w", src.upstream, ask.Name, err)
	}
	return response.Scrub(nil, plan.filter(r.localRules(), ask.Name, src.direct))
}

// filter takes out of answers: addresses that no public name may have (DNS
// rebinding), hints, which could lead around what the kernel was told of, and
// ech where the name must be seen in the hello. Fake addresses are never
// anybody's real ones.
func (p *Plan) filter(local *LocalRules, name string, direct bool) wire.Filter {
	cfg := &p.Config
	rebind := cfg.RebindProtection && !local.mayBePrivate(name) &&
		!slices.ContainsFunc(cfg.RebindDomains, func(d policy.Pattern) bool { return d.Match(name) })
	return wire.Filter{
		Drop: func(a netip.Addr) bool {
			return p.isFake(a) || rebind && wire.IsPrivate(a) && !(local.RebindLoopback && a.IsLoopback())
		},
		StripHints: true,
		StripECH:   !direct,
	}
}

// learn tells the kernel and the history of the addresses that a client is
// about to be given.
func (r *Router) learn(plan *Plan, q *question, addrs []netip.Addr, ttl time.Duration, now time.Time, others ...netip.Addr) error {
	if len(addrs) == 0 || plan.Policy.Mode(q.client) == policy.Off {
		return nil
	}
	r.history.record(q.device, q.name, addrs, ttl, now)
	return r.learned.answer(q.client, q.name, addrs, ttl, now, others...)
}

// Resolve asks one upstream for a name's addresses, IPv4 first, for flows that
// the router itself dials. The answers are not cached and not learned: no client
// is given them.
func (r *Router) Resolve(ctx context.Context, upstreamName, host string) ([]netip.Addr, error) {
	plan := r.plan.Load().Plan
	src := source{upstream: upstreamName}
	type result struct {
		answer wire.Scrubbed
		err    error
	}
	v6 := make(chan result, 1)
	go func() {
		var res result
		if plan.Config.IPv6 {
			res.answer, res.err = r.exchange(ctx, plan, src, upstream.Question{Name: host, Type: wire.TypeAAAA, Class: wire.ClassIN})
		}
		v6 <- res
	}()
	answer, err := r.exchange(ctx, plan, src, upstream.Question{Name: host, Type: wire.TypeA, Class: wire.ClassIN})
	second := <-v6
	addrs := append(answer.Addrs, second.answer.Addrs...)
	if len(addrs) == 0 && err != nil {
		return nil, err
	}
	if len(addrs) == 0 && second.err != nil {
		return nil, second.err
	}
	return addrs, nil
}
