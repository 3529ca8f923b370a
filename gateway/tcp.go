package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/gateway/relay"
	"github.com/fairlead/fairlead/gateway/tproxy"
)

var (
	errRefused = errors.New("refused by policy")
	errTooMany = errors.New("too many connections of this device")
)

// carryTCP carries one connection from its accept to its log line. A
// connection that cannot be carried is reset, as a dead host would do.
func (g *Gateway) carryTCP(ctx context.Context, client *net.TCPConn) {
	began := time.Now()
	src, dst := tproxy.Endpoints(client)
	plan := g.plan.Load()
	f, err := g.identify(plan.Policy, src, dst, policy.TCP)
	defer g.release(&f)

	var v policy.Verdict
	var stats relay.Stats
	if err == nil {
		v, stats, err = g.admitTCP(ctx, plan, &f, client)
	}
	if err != nil {
		relay.Abort(client)
	}
	client.Close()
	g.logFlow(ctx, &f, v, stats, began, err)
}

// admitTCP counts the connection against its device's share and carries it.
func (g *Gateway) admitTCP(ctx context.Context, plan *Plan, f *flow, client *net.TCPConn) (policy.Verdict, relay.Stats, error) {
	key := f.device.Key()
	if !g.tcp.enter(key) {
		return policy.Verdict{}, relay.Stats{}, errTooMany
	}
	defer g.tcp.leave(key)
	return g.relayTCP(ctx, plan, f, client)
}

// relayTCP names, decides, dials and relays.
func (g *Gateway) relayTCP(ctx context.Context, plan *Plan, f *flow, client *net.TCPConn) (policy.Verdict, relay.Stats, error) {
	o := opening{g: g, plan: plan, flow: f, client: client}
	defer o.close()
	g.recall(plan, f)
	if telling(plan, f) {
		if err := o.listen(ctx); err != nil {
			return o.verdict, relay.Stats{}, err
		}
	}
	if err := o.settle(ctx, f); err != nil {
		return o.verdict, relay.Stats{}, err
	}
	head, err := o.exchangeHeads()
	if err != nil {
		return o.verdict, head, err
	}
	counts := new(relay.Counts)
	counts.Up.Store(head.Up)
	counts.Down.Store(head.Down)
	done := g.tally.open(o.verdict.Outbound, counts)
	err = g.pipe(ctx, &o, counts)
	done()
	return o.verdict, counts.Stats(), err
}

// pipe relays until either side ends, or a strict reload.
func (g *Gateway) pipe(ctx context.Context, o *opening, counts *relay.Counts) error {
	g.relayed.enter(o)
	if g.outdated(o.flow, o.verdict) {
		g.relayed.leave(o)
		return errOutdated
	}
	err := relay.Pipe(ctx, o.client, o.upstream, nil, g.cfg.Limits.TCPIdle, counts)
	if ended := g.relayed.leave(o); ended != nil {
		return ended
	}
	return err
}

// dialTCP opens the way that a verdict names, to a target.
func (g *Gateway) dialTCP(ctx context.Context, plan *Plan, v policy.Verdict, host string, to netip.AddrPort) (net.Conn, error) {
	if v.Kind == policy.Reject {
		return nil, errRefused
	}
	out, ok := plan.Outbounds[v.Outbound]
	if !ok {
		return nil, fmt.Errorf("outbound %s is not running", v.Outbound)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := out.DialTCP(ctx, host, to)
	g.tally.dialled(v.Outbound, err)
	if err != nil {
		return nil, fmt.Errorf("dialing through %s: %w", v.Outbound, err)
	}
	return c, nil
}
