package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
	"github.com/fairlead/fairlead/gateway/policy"
)

const (
	// monitorEvery is how often the daemon looks whether it is to watch for leaks.
	monitorEvery = time.Second
	// leakLogEvery is how often a leak is logged at most: a device with mode off
	// makes one of each of its questions, and the system's log has room for little.
	// The report has the last hundred.
	leakLogEvery = 10 * time.Second
)

// leakRules are what the configuration says of questions that leave.
func (g *generation) leakRules() *leaks.Rules {
	c := &g.cfg.Policy
	r := &leaks.Rules{
		Policy: g.policy, Local: c.LocalUpstream, Router: g.cfg.Router,
		Remote: []string{c.RemoteUpstream}, Outbounds: map[string]policy.Outbound{},
	}
	outbounds := map[string]policy.Outbound{}
	for _, o := range c.Outbounds {
		outbounds[o.Name] = o
		r.Remote = append(r.Remote, o.Upstream) // which may be nobody
	}
	for _, u := range g.cfg.Upstreams {
		out := outbounds[u.Outbound]
		r.Outbounds[u.Name] = out
		for _, s := range u.Servers {
			plain := s.Scheme == "udp" || s.Scheme == "tcp"
			if plain && out.Kind != policy.Node && s.Addr.IsValid() && s.Addr.Port() != portDNS {
				r.Plain = append(r.Plain, s.Addr)
			}
		}
	}
	for _, o := range g.cfg.Outbounds {
		if addr, err := netip.ParseAddr(o.Server); err == nil {
			r.Nodes = append(r.Nodes, netip.AddrPortFrom(addr.Unmap(), o.Port))
		}
	}
	return r
}

// watchLeaks has a Monitor watch as long as option leak_monitor says so.
func (d *daemon) watchLeaks(ctx context.Context) error {
	for ctx.Err() == nil {
		if d.generation().cfg.LeakMonitor {
			if err := d.monitor(ctx); err != nil {
				d.log.Warn("watching for leaks", "err", err)
				wait(ctx, examineEvery)
			}
		}
		wait(ctx, monitorEvery)
	}
	return nil
}

// monitor watches until ctx ends, or the configuration no longer wants it.
func (d *daemon) monitor(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for ctx.Err() == nil && d.generation().cfg.LeakMonitor {
			wait(ctx, monitorEvery)
		}
		cancel()
	}()
	m := leaks.NewMonitor(d.leakConfig())
	d.leaks.Store(m)
	defer d.leaks.Store(nil)
	return m.Serve(ctx, nil)
}

// leakConfig is what a Monitor needs within the daemon.
func (d *daemon) leakConfig() leaks.Config {
	var gen *generation
	var rules *leaks.Rules
	return leaks.Config{
		Devices: func() ([]string, error) { return wanDevices(d.generation()) },
		Rules: func() *leaks.Rules {
			if now := d.generation(); now != gen {
				gen, rules = now, now.leakRules()
			}
			return rules
		},
		Record: func(since uint64) ([]leaks.Asked, uint64, error) {
			entries, next := d.machine.record.Since(since)
			return entries, next, nil
		},
		Who:   senders{d.flows, d.own.has, d.known}.of,
		Found: logLeaks(d.log),
	}
}

// logLeaks logs leaks, and how many it has passed over since the one before.
func logLeaks(log *slog.Logger) func(leaks.Finding) {
	var last time.Time
	var passed int
	return func(f leaks.Finding) {
		switch {
		case f.Way != leaks.Leak:
		case f.Time.Sub(last) < leakLogEvery:
			passed++
		default:
			log.Warn("a DNS question leaked", "name", f.Name, "to", f.Dst, "reason", f.Reason, "passed_over", passed)
			last, passed = f.Time, 0
		}
	}
}

// known is what is known of a device without asking anybody.
func (d *daemon) known(addr netip.Addr) policy.Device {
	if known, ok := d.devices.Known(addr); ok {
		return known
	}
	return policy.Device{Addr: addr}
}

func (d *daemon) generation() *generation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gen
}

// leakReport is what has been seen so far.
func (d *daemon) leakReport() (leaks.Report, error) {
	m := d.leaks.Load()
	if m == nil {
		return leaks.Report{}, errors.New("fairlead does not watch for leaks: set option leak_monitor of section main to 1, or watch by `fairlead leaks --for 60s`")
	}
	return m.Report(), nil
}

// leakWarning says that there was a leak; empty if not.
func leakWarning(r leaks.Report) string {
	if r.Counts.Leak == 0 {
		return ""
	}
	last := r.Leaks[len(r.Leaks)-1]
	return fmt.Sprintf("%d DNS questions leaked since %s, the last one to %s: %s; `fairlead leaks` lists them",
		r.Counts.Leak, r.Since.Format(time.DateTime), last.Server, last.Reason)
}
