package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/sniff"
)

// flow is what is known of a diverted flow before it has a verdict.
type flow struct {
	device  policy.Device
	client  netip.AddrPort // who sent it
	dialled netip.AddrPort // what it was sent to
	fake    string         // the name that dialled stands for; empty: dialled is a real address
	facts   policy.Flow    // what the policy is asked about
}

// identify says who sent a flow and, if it went to a fake address, to what
// name. It fails when nothing stands for the fake address; otherwise the
// address is held, if it is a fake one, until release.
func (g *Gateway) identify(p *policy.Policy, client, dialled netip.AddrPort, proto policy.Proto) (flow, error) {
	f := flow{client: client, dialled: dialled, device: g.cfg.Devices.Device(client.Addr())}
	f.facts = policy.Flow{Client: p.Client(f.device), Addr: dialled.Addr(), Port: dialled.Port(), Proto: proto}
	if !g.cfg.Names.Contains(dialled.Addr()) {
		return f, nil
	}
	name, ok := g.cfg.Names.Hold(dialled.Addr())
	if !ok {
		return f, fmt.Errorf("no name stands for %s: the client holds an answer from before", dialled.Addr())
	}
	f.fake, f.facts.Host, f.facts.Addr = name, name, netip.Addr{}
	return f, nil
}

func (g *Gateway) release(f *flow) {
	if f.fake != "" {
		g.cfg.Names.Release(f.dialled.Addr())
	}
}

// telling says whether the first bytes of the flow could change its verdict.
func telling(plan *Plan, f *flow) bool {
	unknown := policy.ProtocolUnknown
	if f.facts.Host == "" {
		unknown |= policy.HostUnknown
	}
	return plan.Sniff && plan.Policy.Judge(f.facts, unknown).Open
}

// learn adds to the flow what its first bytes told. A sniffed name decides,
// but whether it may replace the destination is another question: see target.
// A name hidden by ECH, or none at all, is made up for by what DNS told this
// device about the address.
func (g *Gateway) learn(p *policy.Policy, f *flow, r sniff.Result) {
	f.facts.Protocol = r.Protocol
	if f.fake != "" {
		return
	}
	names := g.cfg.History.NamesOf(f.device, f.dialled.Addr())
	if r.Host != "" && (!r.ECH || slices.Contains(names, r.Host) || !isPublicName(r.Host)) {
		f.facts.Host = r.Host
		return
	}
	f.facts.Host = g.agreed(p, f, names)
}

// agreed is the latest of the names that DNS gave for the address, if every
// one of them is sure to leave the same way, and otherwise none: a guess between
// two ways would be wrong half of the time.
func (g *Gateway) agreed(p *policy.Policy, f *flow, names []string) string {
	if len(names) == 0 {
		return ""
	}
	facts := f.facts
	facts.Host = names[0]
	way := p.Decide(facts).Outbound
	for _, name := range names[1:] {
		facts.Host = name
		if v := p.Decide(facts); v.NeedsAddr || v.Outbound != way {
			return ""
		}
	}
	return names[0]
}

// recall makes up for sniffing that is off by what DNS told this device.
func (g *Gateway) recall(plan *Plan, f *flow) {
	if !plan.Sniff {
		g.learn(plan.Policy, f, sniff.Result{})
	}
}

// decide takes the verdict, asking for the name's addresses first if a rule
// with resolve '1' wants to compare them.
func (g *Gateway) decide(ctx context.Context, p *policy.Policy, f *flow) (policy.Verdict, error) {
	v := p.Decide(f.facts)
	if !v.NeedsAddr {
		return v, nil
	}
	addrs, err := g.cfg.Resolve.Resolve(ctx, v.Upstream, f.facts.Host)
	if err != nil {
		return v, fmt.Errorf("resolving %s for rule %s: %w", f.facts.Host, v.Rule, err)
	}
	f.facts.Resolved = addrs
	if addrs == nil {
		f.facts.Resolved = []netip.Addr{}
	}
	return p.Decide(f.facts), nil
}

// target is what to dial: by name if the client dialled a fake address, or if
// it was given the address for the very name that the flow carries (so the
// node may choose a better one); else the address that it dialled. A direct
// flow keeps the address that the client chose.
func (g *Gateway) target(f *flow, v policy.Verdict) (host string, to netip.AddrPort) {
	switch {
	case f.fake != "":
		return f.fake, netip.AddrPortFrom(netip.Addr{}, f.dialled.Port())
	case v.Kind == policy.Node && f.facts.Host != "" &&
		slices.Contains(g.cfg.History.NamesOf(f.device, f.dialled.Addr()), f.facts.Host):
		return f.facts.Host, f.dialled
	default:
		return "", f.dialled
	}
}

// isPublicName says whether a name is one that a provider puts into the outer
// hello of ECH (draft-ietf-tls-esni, section 6.1) and that therefore says
// nothing about where the flow goes. Chrome sends the extension as GREASE with
// the real name, so the extension alone proves nothing.
func isPublicName(host string) bool {
	switch host {
	case "cloudflare-ech.com", "cloudflare-esni.com", "crypto.cloudflare.com":
		return true
	}
	return false
}
