package dnsrouter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/fairlead/fairlead/gateway/policy"
)

// source is whom a question may be asked of, and what the answer is for.
type source struct {
	upstream string
	direct   bool // the name leaves directly whatever its addresses are
	both     bool // a rule with resolve compares the addresses of both families
}

// ask has the question answered by its upstream, cleans the answer, tells the
// kernel of its addresses, and keeps it.
func (r *Router) ask(ctx context.Context, plan *running, q *question, src source) (wire.Scrubbed, error) {
	view := q.view()
	answer, err := r.fetch(ctx, plan, q, src, view)
	if err != nil {
		return answer, err
	}
	others, err := r.otherFamily(ctx, plan.Plan, q, src)
	if err != nil {
		return answer, err
	}
	now := time.Now()
	if err := r.learn(plan.Plan, q, answer.Addrs, time.Duration(answer.TTL)*time.Second, now, others...); err != nil {
		return answer, err
	}
	q.keep(plan.cache, view, answer, plan.Config.ServeStale, now)
	return answer, nil
}

// fetch has the question answered by its upstream, if the client has a place
// among those that wait, and cleans the answer. That there is none is kept for
// the view.
func (r *Router) fetch(ctx context.Context, plan *running, q *question, src source, view uint16) (wire.Scrubbed, error) {
	device := shareOf(q.device)
	if !r.inFlight.enter(device) {
		return wire.Scrubbed{}, errBusy
	}
	defer r.inFlight.leave(device)
	r.count.upstream.Add(1)
	answer, err := r.exchange(ctx, plan.Plan, src, upstream.Question{
		Name: strings.Clone(q.name), Type: q.Type, Class: q.Class, DO: q.DO, CD: q.CD,
	})
	if err == nil && answer.Rcode != wire.RcodeSuccess && answer.Rcode != wire.RcodeNXDomain {
		err = fmt.Errorf("asking upstream %s for %s: %w with code %d", src.upstream, q.name, errServer, answer.Rcode)
	}
	if err != nil && !errors.Is(err, upstream.ErrBusy) {
		q.keepFailure(plan.cache, view, time.Now())
	}
	return answer, err
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
	if r.deps.Record != nil && r.deps.Record.Listening() {
		r.deps.Record.Asking(src.upstream, ask.Name, src.direct)
	}
	msg, err := u.Exchange(ctx, ask)
	if errors.Is(err, upstream.ErrClock) && src.direct && plan.tellsTime(ask.Name) {
		r.log.Warn("asking for a time server in the clear: the clock seems to be wrong", "name", ask.Name, "err", err)
		msg, err = plan.Plain.Exchange(ctx, ask)
	}
	if err != nil {
		return wire.Scrubbed{}, fmt.Errorf("asking upstream %s for %s: %w", src.upstream, ask.Name, err)
	}
	response, err := wire.ParseResponse(msg)
	if err != nil {
		return wire.Scrubbed{}, fmt.Errorf("reading the answer of upstream %s for %s: %w", src.upstream, ask.Name, err)
	}
	return response.Scrub(nil, plan.filter(r.localRules(), ask, src.direct))
}

// tellsTime tells the names by which a clock is set right. Without them it would
// stay wrong, and no certificate would ever hold.
func (p *Plan) tellsTime(name string) bool {
	return p.Plain != nil && slices.ContainsFunc(p.Config.TimeServers, func(t policy.Pattern) bool { return t.Match(name) })
}

// filter takes out of answers: addresses that no public name may have (DNS
// rebinding), hints, which could lead around what the kernel was told of, and
// where the name must be seen in the hello ech, and other hosts to connect to,
// which may have another way; also records of DNSSEC that were not asked for.
// Fake addresses are never anybody's real ones.
func (p *Plan) filter(local *LocalRules, ask upstream.Question, direct bool) wire.Filter {
	cfg := &p.Config
	rebind := cfg.RebindProtection && !local.mayBePrivate(ask.Name) &&
		!slices.ContainsFunc(cfg.RebindDomains, func(d policy.Pattern) bool { return d.Match(ask.Name) })
	return wire.Filter{
		Drop: func(a netip.Addr) bool {
			return p.isFake(a) || rebind && wire.IsPrivate(a) && !(local.RebindLoopback && a.IsLoopback())
		},
		StripHints:  true,
		StripECH:    !direct,
		StripOther:  !direct,
		StripDNSSEC: !ask.DO,
	}
}

// learn tells the kernel of the addresses that clients are about to be given.
func (r *Router) learn(plan *Plan, q *question, addrs []netip.Addr, ttl time.Duration, now time.Time, others ...netip.Addr) error {
	if len(addrs) == 0 || q.stranger || plan.Policy.Mode(q.client) == policy.Off {
		return nil
	}
	return r.learned.answer(q.client, q.name, addrs, ttl, now, others...)
}

// Resolve asks one upstream for a name's addresses, IPv4 first, for flows that
// the router itself dials. The answers are not cached and not learned: no client
// is given them. What the local upstream is asked for leaves directly.
func (r *Router) Resolve(ctx context.Context, upstreamName, host string) ([]netip.Addr, error) {
	plan := r.plan.Load().Plan
	src := source{upstream: upstreamName, direct: upstreamName == plan.LocalUpstream}
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
	if err == nil {
		err = second.err
	}
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case r.outdated(plan, err):
		return r.Resolve(ctx, upstreamName, host)
	}
	return nil, err
}
