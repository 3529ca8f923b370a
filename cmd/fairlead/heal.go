package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
)

const (
	// healEvery is how often the kernel is put right at most, and also how long
	// a burst of changes is waited for: an interface that comes up brings several.
	healEvery = 250 * time.Millisecond
	// maxHeals is how often a minute the table is made anew before we take it
	// that somebody else does not want it there, and stop fighting.
	maxHeals = 20
	// listenAgain is how long a broken subscription waits before it is made anew.
	listenAgain = 250 * time.Millisecond
)

// hurts are what the kernel's watchers found, each at most once until it is
// looked at.
type hurts struct {
	table  chan nft.Disturbance
	routes chan struct{}
}

func newHurts() hurts {
	return hurts{table: make(chan nft.Disturbance, 1), routes: make(chan struct{}, 1)}
}

// tell passes v on, unless something waits there already.
func tell[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// watchTable listens for deletions in our table until ctx ends.
func (d *daemon) watchTable(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := d.table.Watch(ctx, func(x nft.Disturbance) { tell(d.hurts.table, x) }); err != nil {
			d.log.Warn("watching the table", "err", err)
			tell(d.hurts.table, nft.Disturbance{}) // what was missed while deaf
		}
		wait(ctx, listenAgain)
	}
	return nil
}

// watchRoutes listens for changes of links, addresses, routes and rules until
// ctx ends.
func (d *daemon) watchRoutes(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := route.Watch(ctx, func() { tell(d.hurts.routes, struct{}{}) }); err != nil {
			d.log.Warn("watching routes", "err", err)
		}
		wait(ctx, listenAgain)
	}
	return nil
}

// heal puts right what the watchers find, until ctx ends.
func (d *daemon) heal(ctx context.Context) error {
	var fight fight
	for {
		select {
		case <-ctx.Done():
			return nil
		case x := <-d.hurts.table:
			d.healTable(ctx, x, &fight)
		case <-d.hurts.routes:
			wait(ctx, healEvery) // for the rest of the burst
			d.healRoutes(ctx)
			continue
		}
		wait(ctx, healEvery)
	}
}

// healTable installs the table anew if others took from it.
func (d *daemon) healTable(ctx context.Context, x nft.Disturbance, fight *fight) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil || fight.lost {
		return
	}
	present, err := d.table.Present()
	if err != nil {
		d.log.Warn("looking at the table", "err", err)
	}
	if present && !x.Elements {
		return
	}
	if !fight.again(time.Now()) {
		d.warn(fmt.Sprintf("%s removes the table inet %s again and again; fairlead stops putting it back: nothing is diverted until it is restarted", processName(x.By), nft.TableName))
		return
	}
	d.log.Warn("putting the table back", "removed_by", processName(x.By), "elements_only", present)
	if present {
		err = d.table.AddFakes(d.fakes())
	} else {
		err = d.install()
	}
	if err != nil {
		d.log.Error("putting the table back", "err", err)
	}
}

// healRoutes puts rules and routes back and follows this machine's addresses.
func (d *daemon) healRoutes(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if err := d.applyRoutes(d.gen); err != nil {
		d.log.Warn("putting routes back", "err", err)
	}
	home, _, err := route.Connected(d.gen.devices)
	if err == nil && !slices.Equal(home, d.home) {
		d.log.Info("this machine's prefixes changed", "home", home)
		err = d.table.SetHome(home)
	}
	if err != nil {
		d.log.Warn("following this machine's addresses", "err", err)
		return
	}
	d.home = home
}

// fight counts how often the table had to be put back.
type fight struct {
	times []time.Time // within the last minute
	lost  bool
}

// again says whether to go on.
func (f *fight) again(now time.Time) bool {
	f.times = slices.DeleteFunc(f.times, func(t time.Time) bool { return now.Sub(t) > time.Minute })
	f.times = append(f.times, now)
	f.lost = len(f.times) > maxHeals
	return !f.lost
}

// processName names who did something over netlink. The port of a process's
// first netlink socket is its id, so this is a good guess, not a proof.
func processName(port uint32) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", port))
	if err != nil {
		return "another program"
	}
	return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(comm)), port)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// fakes lists the fake addresses of every name.
func (d *daemon) fakes() [][2]netip.Addr {
	var fakes [][2]netip.Addr
	for slot := range d.pool.All() {
		v4, v6 := d.pool.Addrs(slot)
		fakes = append(fakes, [2]netip.Addr{v4, v6})
	}
	return fakes
}
