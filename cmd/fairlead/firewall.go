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

// judgeEvery is how soon a changed firewall is followed, and a rule that begins
// or ends to hold. A look costs two stat(2) where there is no firewall of OpenWrt.
const judgeEvery = time.Second

// bookOf is the firewall beside the configuration.
func bookOf(cfg *config.Config) *firewall.Book {
	return &firewall.Book{Dir: filepath.Dir(cfg.File)}
}

// zonesNow are what the machine's firewall refuses the generation's devices at
// this moment. One that cannot be read is no reason not to run.
func (g *generation) zonesNow(book *firewall.Book, log *slog.Logger) []nft.Zone {
	f, err := book.Look()
	if err != nil {
		log.Warn("following the firewall", "err", err)
	}
	if f == nil {
		return nil
	}
	return f.Zones(g.place(), time.Now())
}

// place is where the devices are that the firewall speaks of. Without default
// routes it goes by the names of its zones.
func (g *generation) place() firewall.Place {
	wan, _ := route.DefaultDevices()
	return firewall.Place{Served: g.devices, Networks: g.networks, WAN: wan}
}

// withZones is the generation under another state of the firewall.
func (g *generation) withZones(zones []nft.Zone) *generation {
	next := *g
	next.zones = zones
	return &next
}

// unseen says what of the firewall does not hold for flows that fairlead carries.
func (g *generation) unseen() []string {
	f, err := bookOf(g.cfg).Look()
	if err != nil {
		return []string{err.Error() + "; what it refuses, fairlead does not know"}
	}
	if f == nil {
		return nil
	}
	return f.Unseen(g.place())
}

// followFirewall has the table ask what the firewall refuses, as it is
// configured and as the time is, until ctx ends.
func (d *daemon) followFirewall(ctx context.Context) error {
	d.mu.Lock()
	book := bookOf(d.gen.cfg)
	d.mu.Unlock()
	t := time.NewTicker(judgeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		d.judgeAnew(ctx, book)
	}
}

func (d *daemon) judgeAnew(ctx context.Context, book *firewall.Book) {
	d.mu.Lock()
	defer d.mu.Unlock()
	zones := d.gen.zonesNow(book, d.log)
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
