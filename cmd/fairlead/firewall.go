package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/firewall"
)

const (
	// judgeEvery is how soon a changed firewall is followed, and a rule that
	// begins or ends to hold. A look costs two stat(2), and a walk through the
	// rules where there are any.
	judgeEvery = time.Second
	// wanEvery is how soon another default route is followed. To list routes
	// costs a hundred times as much, and the zone of the WAN hardly ever changes.
	wanEvery = 10 * time.Second
)

// wall is the firewall beside the configuration, and the way out that it guards.
type wall struct {
	book  firewall.Book
	wan   []string // interfaces of the default routes
	asked time.Time
}

func wallOf(cfg *config.Config) *wall {
	return &wall{book: firewall.Book{Dir: filepath.Dir(cfg.File)}}
}

// zones are what the firewall refuses the generation's devices at this moment.
// One that cannot be read is no reason not to run.
func (w *wall) zones(g *generation, log *slog.Logger) []nft.Zone {
	f, err := w.book.Look()
	if err != nil {
		log.Warn("following the firewall", "err", err)
	}
	if f == nil {
		return nil
	}
	return f.Zones(w.place(g), time.Now())
}

// place is where the devices are that the firewall speaks of. Without default
// routes it goes by the names of its zones.
func (w *wall) place(g *generation) firewall.Place {
	if now := time.Now(); now.Sub(w.asked) >= wanEvery {
		w.wan, _ = route.DefaultDevices()
		w.asked = now
	}
	return firewall.Place{Served: g.devices, Networks: g.networks, WAN: w.wan}
}

// unseen says what of the firewall does not hold for flows that fairlead carries.
func (w *wall) unseen(g *generation) []string {
	f, err := w.book.Look()
	if err != nil {
		return []string{err.Error() + "; what it refuses, fairlead does not know"}
	}
	if f == nil {
		return nil
	}
	return f.Unseen(w.place(g))
}

// withZones is the generation under another state of the firewall.
func (g *generation) withZones(zones []nft.Zone) *generation {
	next := *g
	next.zones = zones
	return &next
}

// followFirewall has the table ask what the firewall refuses, as it is
// configured and as the time is, until ctx ends.
func (d *daemon) followFirewall(ctx context.Context) error {
	d.mu.Lock()
	w := wallOf(d.gen.cfg)
	d.mu.Unlock()
	return every(ctx, judgeEvery, func() { d.judgeAnew(ctx, w) })
}

func (d *daemon) judgeAnew(ctx context.Context, w *wall) {
	d.mu.Lock()
	defer d.mu.Unlock()
	zones := w.zones(d.gen, d.log)
	if ctx.Err() != nil || d.fights.table.lost || reflect.DeepEqual(zones, d.gen.zones) {
		return
	}
	next := d.gen.withZones(zones)
	ruleset, err := next.ruleset(d.home, d.names)
	if err == nil {
		err = d.replaceTable(ruleset)
	}
	if err != nil {
		d.log.Warn("following the firewall", "err", err)
		return
	}
	d.gen = next
	d.log.Info("followed the firewall", "zones", len(zones))
}
