package upstream

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// minLife is how long addresses of a server are kept at least, so that servers
// with short TTLs do not cause a plain question all the time.
const minLife = time.Minute

var errNoAddress = errors.New("no address")

// bootstrap resolves the names of servers, and asks for nothing else.
type bootstrap struct {
	servers *Upstream

	turn  chan struct{} // holds one token: who has it may look at the fields below
	hosts map[string]residence
}

// residence is where a host is, or was when it was last known.
type residence struct {
	addrs []netip.Addr
	until time.Time
}

func newBootstrap(cfg Config, d Dialer, opts Options) *bootstrap {
	if opts.BootstrapDialer != nil {
		d = opts.BootstrapDialer
	}
	own := Config{Name: cfg.Name + " bootstrap"}
	for _, addr := range cfg.Bootstrap {
		own.Servers = append(own.Servers, Server{Scheme: "udp", Addr: addr})
	}
	b := &bootstrap{
		servers: New(own, d, Options{Log: opts.Log, Record: opts.Record}),
		turn:    make(chan struct{}, 1),
		hosts:   make(map[string]residence),
	}
	b.servers.env.name, b.servers.env.bootstrap = cfg.Name, true
	b.turn <- struct{}{}
	return b
}

// lookup returns the addresses of a host, IPv4 first. When they cannot be
// refreshed, the last ones known are better than none.
func (b *bootstrap) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	select {
	case <-b.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { b.turn <- struct{}{} }()

	known := b.hosts[host]
	if time.Now().Before(known.until) {
		return known.addrs, nil
	}
	fresh, err := b.resolve(ctx, host)
	if err != nil {
		if known.addrs == nil {
			return nil, err
		}
		known.until = time.Now().Add(firstBackOff)
		b.hosts[host] = known
		return known.addrs, nil
	}
	b.hosts[host] = fresh
	return fresh.addrs, nil
}

// resolve asks for both families at once.
func (b *bootstrap) resolve(ctx context.Context, host string) (residence, error) {
	var v4, v6 residence
	var err4, err6 error
	var both sync.WaitGroup
	both.Go(func() { v4, err4 = b.ask(ctx, host, wire.TypeA) })
	both.Go(func() { v6, err6 = b.ask(ctx, host, wire.TypeAAAA) })
	both.Wait()
	switch {
	case err4 != nil && err6 != nil:
		return residence{}, err4
	case err4 != nil:
		return v6, nil
	case err6 != nil:
		return v4, nil
	}
	return residence{append(v4.addrs, v6.addrs...), earlier(v4.until, v6.until)}, nil
}

func (b *bootstrap) ask(ctx context.Context, host string, typ uint16) (residence, error) {
	answer, err := b.servers.Exchange(ctx, Question{Name: host, Type: typ, Class: wire.ClassIN})
	if err != nil {
		return residence{}, err
	}
	r, err := wire.ParseResponse(answer)
	if err != nil {
		return residence{}, err
	}
	s, err := r.Scrub(nil, wire.Filter{})
	if err != nil {
		return residence{}, err
	}
	if len(s.Addrs) == 0 {
		return residence{}, errNoAddress
	}
	life := max(time.Duration(s.TTL)*time.Second, minLife)
	return residence{s.Addrs, time.Now().Add(life)}, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
