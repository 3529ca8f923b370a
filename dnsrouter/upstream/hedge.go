package upstream

import (
	"context"
	"errors"
	"sort"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// errNoServers is when auto knows of none and no other is configured.
var errNoServers = errors.New("no server is known")

type outcome struct {
	answer []byte
	err    error
}

// hedge asks the best server, and the next one when an answer takes longer than
// the one asked last usually needs, or at once when it fails. The first good
// answer ends the others.
func (u *Upstream) hedge(ctx context.Context, q Question) ([]byte, error) {
	ctx, settle := u.env.whileAlive(ctx)
	defer settle()
	servers := u.current()
	if len(servers) == 1 {
		o := servers[0].ask(ctx, q) // there is nobody to hedge with
		return o.answer, o.err
	}
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	order := rank(servers, time.Now())
	outcomes := make(chan outcome, len(order))
	patience := time.NewTimer(0)
	defer patience.Stop()

	var poor []byte
	err := errNoServers
	for asked, ended := 0, 0; ended < len(order); {
		select {
		case <-patience.C:
			if asked == len(order) {
				continue
			}
			s := order[asked]
			asked++
			u.env.running.Go(func() { outcomes <- s.ask(ctx, q) })
			patience.Reset(s.health.delay())
		case o := <-outcomes:
			if o.err == nil && isGood(o.answer) {
				return o.answer, nil
			}
			switch {
			case o.err == nil:
				poor = o.answer
			case !errors.Is(err, ErrClock): // which says more than a later one
				err = o.err
			}
			ended++
			patience.Reset(0)
		case <-ctx.Done():
			return orPoor(poor, context.Cause(ctx))
		}
	}
	return orPoor(poor, err)
}

func isGood(answer []byte) bool {
	rcode := wire.Rcode(answer)
	return rcode == wire.RcodeSuccess || rcode == wire.RcodeNXDomain
}

func orPoor(poor []byte, err error) ([]byte, error) {
	if poor != nil {
		return poor, nil
	}
	return nil, err
}

// rank puts the quickest first and those that are backed off last; equals stay
// in the order configured.
func rank(servers []*server, now time.Time) []*server {
	type ranked struct {
		s    *server
		down bool
		rtt  time.Duration
	}
	all := make([]ranked, len(servers))
	for i, s := range servers {
		down, rtt := s.health.standing(now)
		all[i] = ranked{s, down, rtt}
	}
	sort.SliceStable(all, func(i, k int) bool {
		if all[i].down != all[k].down {
			return all[k].down
		}
		return all[i].rtt/time.Millisecond < all[k].rtt/time.Millisecond
	})
	order := make([]*server, len(all))
	for i, r := range all {
		order[i] = r.s
	}
	return order
}
