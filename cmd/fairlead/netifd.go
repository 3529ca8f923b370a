package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/ubus"
)

const (
	// busTime bounds one question over the bus. Daemons answer within
	// milliseconds unless they hang.
	busTime = 2 * time.Second

	// A lost bus is looked for again after a while that doubles from the least
	// to the most.
	leastAway = 100 * time.Millisecond
	mostAway  = 5 * time.Second
)

// netifdObject is what netifd calls itself on the bus. The object of a single
// interface has its name behind it.
const netifdObject = "network.interface"

// objectEvents are those of ubusd that tell which objects come and go.
const objectEvents = "ubus.object."

// netifd is OpenWrt's network daemon, which knows the Linux interfaces of each
// network, and what the uplinks announced.
type netifd struct {
	socket string // of ubusd
	file   string // OpenWrt's network configuration, for where there is no netifd
	log    *slog.Logger
	told   atomic.Pointer[told] // last; nil: nothing yet
}

// told is what netifd says of the machine.
type told struct {
	networks  networks
	resolvers []netip.AddrPort // of the uplinks, those of the best one first
}

// netifdOf is that of a configuration: OpenWrt's networks are beside it.
func netifdOf(cfg *config.Config, log *slog.Logger) *netifd {
	return &netifd{socket: ubus.Socket, file: filepath.Join(filepath.Dir(cfg.File), "network"), log: log}
}

// networks gives what is known. A running daemon keeps that up to date by watch;
// everybody else asks once.
func (n *netifd) networks() (networks, error) {
	if t := n.told.Load(); t != nil {
		return t.networks, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), busTime)
	defer cancel()
	t, err := n.ask(ctx)
	switch {
	case err == nil:
		n.told.Store(&t)
		return t.networks, nil
	case !errors.Is(err, fs.ErrNotExist):
		n.log.Warn("netifd cannot be asked for the networks; their configuration has to do", "err", err)
	}
	return readNetworks(n.file)
}

// resolvers gives what netifd told of the WAN's resolvers.
func (n *netifd) resolvers() []netip.AddrPort {
	if t := n.told.Load(); t != nil {
		return t.resolvers
	}
	return nil
}

func (n *netifd) ask(ctx context.Context) (told, error) {
	bus, err := ubus.Dial(ctx, n.socket)
	if err != nil {
		return told{}, err
	}
	defer bus.Close()
	return dump(ctx, bus)
}

// watch listens to netifd until ctx ends, and calls changed with what it says at
// first and after each change. A bus or netifd that restarts is waited for.
func (n *netifd) watch(ctx context.Context, changed func(told) error) error {
	away, silent := leastAway, false
	for ctx.Err() == nil {
		began := time.Now()
		err := n.follow(ctx, changed)
		if time.Since(began) > mostAway {
			away, silent = leastAway, false
		}
		if err != nil && ctx.Err() == nil && !silent && !errors.Is(err, fs.ErrNotExist) {
			n.log.Warn("following the networks; trying again", "err", err)
			silent = true
		}
		wait(ctx, away)
		away = min(2*away, mostAway)
	}
	return nil
}

// follow is watch over one connection, until that ends. It listens before it
// lists, so that nothing happens in between unheard.
func (n *netifd) follow(ctx context.Context, changed func(told) error) error {
	bus, err := n.listen(ctx)
	if err != nil {
		return err
	}
	defer bus.Close()
	for subscribed := false; ; {
		subscribed, err = n.relist(ctx, bus, subscribed, changed)
		if err != nil {
			return err
		}
		gone, err := nextChange(ctx, bus)
		if err != nil {
			return err
		}
		subscribed = subscribed && !gone
	}
}

// listen connects to the bus, and has it tell which objects come and go.
func (n *netifd) listen(ctx context.Context) (*ubus.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	bus, err := ubus.Dial(ctx, n.socket)
	if err != nil {
		return nil, err
	}
	if err := bus.Listen(ctx, objectEvents+"*"); err != nil {
		bus.Close()
		return nil, err
	}
	return bus, nil
}

// relist asks netifd anew, if it is there.
func (n *netifd) relist(ctx context.Context, bus *ubus.Conn, subscribed bool, changed func(told) error) (bool, error) {
	asking, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	if !subscribed {
		err := bus.Subscribe(asking, netifdObject)
		if errors.Is(err, ubus.NotFound) {
			return false, nil // it tells when it comes
		}
		if err != nil {
			return false, err
		}
	}
	t, err := dump(asking, bus)
	if errors.Is(err, ubus.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n.told.Store(&t)
	return true, changed(t)
}

// nextChange waits until something has happened to a network, and until the rest
// of it has happened, too: an interface that comes up brings several events. Gone
// tells that netifd itself is, or was.
func nextChange(ctx context.Context, bus *ubus.Conn) (gone bool, err error) {
	var settled <-chan time.Time
	for {
		select {
		case e, ok := <-bus.Events():
			if !ok {
				return false, bus.Err()
			}
			path := e.Data.Get("path").Text()
			if strings.HasPrefix(e.Name, objectEvents) && !strings.HasPrefix(path, netifdObject) {
				continue
			}
			gone = gone || e.Name == "" || path == netifdObject
			if settled == nil {
				settled = time.After(settleTime)
			}
		case <-settled:
			return gone, nil
		case <-ctx.Done():
			return false, nil
		}
	}
}

// dump asks netifd for all networks.
func dump(ctx context.Context, bus *ubus.Conn) (told, error) {
	answer, err := bus.Call(ctx, netifdObject, "dump", ubus.Table{})
	if err != nil {
		return told{}, err
	}
	return readDump(answer.Get("interface")), nil
}

// watchNetworks follows OpenWrt's networks until ctx ends.
func (d *daemon) watchNetworks(ctx context.Context) error {
	return d.machine.netifd.watch(ctx, func(t told) error { return d.networksChanged(ctx, t) })
}

// networksChanged goes over to the interfaces that the networks have now, if
// others are served than before.
func (d *daemon) networksChanged(ctx context.Context, t told) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	if d.gen.isOn(t.networks) {
		next := *d.gen
		next.networks = t.networks
		d.gen = &next
		return nil
	}
	before := d.gen.devices
	if err := d.adopt(d.gen.cfg); err != nil {
		return fmt.Errorf("going over to the networks' new interfaces: %w", err)
	}
	d.log.Info("the networks' interfaces changed", "before", before, "devices", d.gen.devices)
	return nil
}

// isOn says whether the generation serves the interfaces that networks have.
func (g *generation) isOn(n networks) bool {
	quiet := slog.New(slog.DiscardHandler)
	same := slices.Equal(g.devices, n.devices(g.cfg.Devices, g.cfg.Networks, quiet))
	for i, s := range g.sections {
		same = same && slices.Equal(s.Devices, n.devices(g.cfg.Policy.Clients[i].Devices, g.cfg.ClientNetworks[i], quiet))
	}
	return same
}
