package main

import (
	"cmp"
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
	// healEvery is how often the kernel is put right at most.
	healEvery = 250 * time.Millisecond
	// settleTime is how long a burst of changes is waited for: an interface that
	// comes up brings several.
	settleTime = 50 * time.Millisecond
	// maxHeals is how often a minute something is put back before we take it
	// that somebody else does not want it there, and stop fighting.
	maxHeals = 20
	// listenAgain is how long a broken subscription waits before it is made anew.
	listenAgain = 250 * time.Millisecond
)

// drift is what a watcher found in the kernel that is not as we left it.
type drift struct {
	by       string // who took something of ours away; empty: as far as is known, nobody did
	elements bool   // elements of sets are among it, which cannot be seen afterwards
}

func (x drift) and(other drift) drift {
	return drift{by: cmp.Or(x.by, other.by), elements: x.elements || other.elements}
}

// drifts are what was found and not looked at yet, put together.
type drifts struct{ table, routes chan drift }

func newDrifts() drifts {
	return drifts{table: make(chan drift, 1), routes: make(chan drift, 1)}
}

// tell adds x to what waits in c.
func tell(c chan drift, x drift) {
	for {
		select {
		case c <- x:
			return
		case waiting := <-c:
			x = waiting.and(x)
		}
	}
}

// watchTable listens for deletions in our table until ctx ends.
func (d *daemon) watchTable(ctx context.Context) error {
	for ctx.Err() == nil {
		err := d.table.Watch(ctx, func(x nft.Disturbance) {
			tell(d.drifts.table, drift{by: processName(x.By), elements: x.Elements})
		})
		if err != nil {
			d.log.Warn("watching the table", "err", err)
			tell(d.drifts.table, drift{}) // what was missed while deaf
		}
		wait(ctx, listenAgain)
	}
	return nil
}

// watchRoutes listens for changes of links and addresses and for deletions of
// our routes and rules until ctx ends.
func (d *daemon) watchRoutes(ctx context.Context) error {
	for ctx.Err() == nil {
		err := route.Watch(ctx, func(c route.Change) { tell(d.drifts.routes, drift{by: processName(c.By)}) })
		if err != nil {
			d.log.Warn("watching routes", "err", err)
		}
		wait(ctx, listenAgain)
	}
	return nil
}

// healing puts right what a watcher finds, until ctx ends.
func healing(found <-chan drift, heal func(context.Context, drift)) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case x := <-found:
				heal(ctx, x)
			}
			wait(ctx, healEvery)
		}
	}
}

// healTable installs the table anew if others took from it.
func (d *daemon) healTable(ctx context.Context, x drift) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil || d.fights.table.lost {
		return
	}
	present, err := d.table.Present()
	if err != nil {
		d.log.Warn("looking at the table", "err", err)
	}
	if present && !x.elements {
		return
	}
	by := cmp.Or(x.by, stranger)
	if !d.fights.table.again(time.Now()) {
		d.fights.table.warning = fmt.Sprintf("%s removes the table inet %s again and again; fairlead stops putting it back: nothing is diverted until it is reloaded or restarted", by, nft.TableName)
		d.log.Error(d.fights.table.warning)
		return
	}
	d.log.Warn("putting the table back", "removed_by", by, "elements_only", present)
	if err := d.install(); err != nil {
		d.log.Error("putting the table back", "err", err)
	}
}

// healRoutes puts rules and routes back and follows this machine's addresses.
func (d *daemon) healRoutes(ctx context.Context, x drift) {
	wait(ctx, settleTime)
	select {
	case more := <-d.drifts.routes:
		x = x.and(more)
	default:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if !d.fights.routes.lost {
		d.restoreRoutes(x)
	}
	if err := d.followHome(); err != nil {
		d.log.Warn("following this machine's addresses", "err", err)
	}
	d.dropLost()
}

// restoreRoutes puts rules and routes back. Those that a device took with it, or
// that wait for one, are nobody's fault.
func (d *daemon) restoreRoutes(x drift) {
	added, err := d.applyRoutes(d.gen)
	if err != nil {
		d.log.Warn("putting routes back", "err", err)
	}
	if added == 0 || x.by == "" {
		return
	}
	d.log.Warn("put rules and routes back", "removed_by", x.by, "count", added)
	if !d.fights.routes.again(time.Now()) {
		d.fights.routes.warning = fmt.Sprintf("%s removes fairlead's rules or routes again and again; fairlead stops putting them back: what is diverted may not arrive until it is reloaded or restarted", x.by)
		d.log.Error(d.fights.routes.warning)
	}
}

// followHome keeps the prefixes of this machine from being diverted.
func (d *daemon) followHome() error {
	home, _, err := route.Connected(d.gen.devices)
	if err != nil || slices.Equal(home, d.home) {
		return err
	}
	d.log.Info("this machine's prefixes changed", "home", home)
	if err := d.table.SetHome(home); err != nil {
		return err
	}
	d.home = home
	return nil
}

// fights are what had to be put back again and again. A reload forgets them:
// whoever asks for one has looked.
type fights struct{ table, routes fight }

// warnings are those of what is not put back any more.
func (f *fights) warnings() []string {
	return slices.DeleteFunc([]string{f.table.warning, f.routes.warning}, func(w string) bool { return w == "" })
}

// fight counts how often one thing had to be put back.
type fight struct {
	times   []time.Time // within the last minute
	lost    bool
	warning string // for as long as it is lost
}

// again says whether to go on.
func (f *fight) again(now time.Time) bool {
	f.times = slices.DeleteFunc(f.times, func(t time.Time) bool { return now.Sub(t) > time.Minute })
	f.times = append(f.times, now)
	f.lost = len(f.times) > maxHeals
	return !f.lost
}

// stranger is whoever cannot be named.
const stranger = "another program"

// processName names who did something over netlink; empty: nobody, for port 0.
// The port of a process's first netlink socket is its id, so this is a good
// guess, not a proof. It is best asked at once: most who do such things end then.
func processName(port uint32) string {
	if port == 0 {
		return ""
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", port))
	if err != nil {
		return stranger
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

// fakes lists the fake addresses of every name, and those that new ones may get.
func (d *daemon) fakes() (all nft.Fakes) {
	blocks, slots := d.pool.Known()
	for _, block := range blocks {
		v4, v6 := d.pool.Block(block)
		all.Blocks = append(all.Blocks, [2]netip.Prefix{v4, v6})
	}
	for _, slot := range slots {
		v4, v6 := d.pool.Addrs(slot)
		all.Pairs = append(all.Pairs, [2]netip.Addr{v4, v6})
	}
	return all
}
