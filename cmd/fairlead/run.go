package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
)

// A start that failed is tried again after a while that doubles from the least,
// procd's own, to the most.
const (
	leastRetry = 5 * time.Second
	mostRetry  = 5 * time.Minute
)

// runCommand runs the gateway until it is told to stop.
func runCommand(e env, args []string) int {
	fs, file := flags(e, "run")
	retry := fs.Bool("retry", false, "try a failed start again, later and later; at once on SIGHUP")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	setCollector()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	start := e.bringUp
	if *retry {
		start = e.bringUpAtLast
	}
	d, err := start(ctx, *file)
	switch {
	case err != nil:
		return e.mistaken(err)
	case d == nil:
		return 0
	}
	if err := d.run(ctx); err != nil {
		return e.fail(fmt.Errorf("running: %w", err))
	}
	return 0
}

// bringUp starts a daemon; nil where the configuration does not want one.
func (e env) bringUp(ctx context.Context, file string) (*daemon, error) {
	cfg, err := config.Load(file, false)
	if err != nil {
		return nil, errors.Join(err, guardUnread(file, e.dnsmasq))
	}
	log, level := newLogger(e.err, cfg.LogLevel)
	if !cfg.Enabled {
		log.Warn("nothing to do: option enabled of section main is 0", "file", file)
		return nil, nil
	}
	d, err := start(ctx, cfg, e.dnsmasq, log, level)
	if err != nil {
		return nil, fmt.Errorf("starting: %w", err)
	}
	for _, w := range cfg.Warnings {
		log.Warn(w.String())
	}
	return d, nil
}

// bringUpAtLast is bringUp again and again, until it works or ctx ends. What is
// wrong is said once, as long as it is the same.
func (e env) bringUpAtLast(ctx context.Context, file string) (*daemon, error) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	defer signal.Stop(hup) // the daemon hears it by then
	said := ""
	for delay := leastRetry; ; delay = min(2*delay, mostRetry) {
		d, err := e.bringUp(ctx, file)
		if err == nil {
			return d, nil
		}
		if text := err.Error(); text != said {
			e.mistaken(err)
			said = text
		}
		select {
		case <-ctx.Done():
			return nil, e.giveUp(file)
		case <-hup:
			delay = leastRetry / 2
		case <-time.After(delay):
		}
	}
}

// giveUp takes back what waiting for a start has left, at a stop that nothing follows.
func (e env) giveUp(file string) error {
	p := placesOf(file)
	if p.restarts() {
		return nil
	}
	return end(p.stateDir, e.dnsmasq)
}

// mistaken prints why there is no daemon: mistakes as `fairlead check` does.
func (e env) mistaken(err error) int {
	var mistakes config.Mistakes
	if !errors.As(err, &mistakes) {
		return e.fail(err)
	}
	fmt.Fprintln(e.err, err)
	return 1
}

func newLogger(w io.Writer, at slog.Level) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(at)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), level
}

// run serves until ctx ends or a part of the daemon breaks, ends what is under
// way, and restores the system. If it broke, or another start follows, the system
// becomes what on_failure says.
func (d *daemon) run(ctx context.Context) error {
	serving, cancel := context.WithCancelCause(context.Background())
	devices := d.gen.devices // the parts may change them
	var parts sync.WaitGroup
	for _, part := range d.parts() {
		parts.Add(1)
		go func() {
			defer parts.Done()
			if err := part(serving); err != nil {
				cancel(err)
			}
		}()
	}
	standing, leave := context.WithCancel(serving)
	left := make(chan error, 1)
	go func() { left <- d.standIn(standing) }()
	d.log.Info("serving", "version", version, "devices", devices, "took", time.Since(d.began).Round(time.Millisecond))

	select {
	case <-ctx.Done():
	case <-serving.Done():
	}
	broke := context.Cause(serving)
	leave()
	back := <-left // dnsmasq answers before we cease to
	cancel(nil)    // no reload and no repair from here on
	d.end(&parts)
	d.mu.Lock()
	defer d.mu.Unlock()
	cfg := d.gen.cfg
	if broke != nil || restarts(cfg.StateDir) {
		return errors.Join(broke, back, d.release(), guard(cfg, d.inPlace.dnsmasq))
	}
	return errors.Join(back, d.undo())
}

// end waits until nothing is under way. The table stays until then: without it
// the packets of a relayed flow would leave with the client's own address, and a
// late answer of ours would make the kernel take the client's next packet for a
// reply. For everything new the router is already one without us.
func (d *daemon) end(parts *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() { parts.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(stopTime):
	}
	d.sender.Close()
}

// parts are what runs side by side. Each ends with its context.
func (d *daemon) parts() []func(context.Context) error {
	parts := []func(context.Context) error{
		d.beat, d.watchTable, healing(d.drifts.table, d.healTable), d.watchRoutes, healing(d.drifts.routes, d.healRoutes), d.examine, d.watchSignals, d.control,
		d.followFirewall, d.watchNetworks, d.watchLeaks,
		d.devices.Serve, d.gateway.Sweep, d.router.Sweep, d.router.TellAhead,
		func(ctx context.Context) error { return d.names.Serve(ctx, d.membersChanged) },
	}
	for _, l := range d.listeners.tcp {
		parts = append(parts, func(ctx context.Context) error { return d.gateway.ServeTCP(ctx, l) })
	}
	for _, l := range d.listeners.udp {
		parts = append(parts, func(ctx context.Context) error { return d.gateway.ServeUDP(ctx, l) })
	}
	for _, l := range d.listeners.dnsTCP {
		parts = append(parts, func(ctx context.Context) error { return d.router.ServeTCP(ctx, l, nil) })
	}
	for _, l := range d.listeners.dnsUDP {
		parts = append(parts, func(ctx context.Context) error {
			return d.router.ServeUDP(ctx, clientPackets{l, d.taker()}, d.sender, nil)
		})
	}
	return parts
}

// beat tells the kernel each second that we are alive.
func (d *daemon) beat(ctx context.Context) error {
	return every(ctx, beatEvery, func() {
		if err := d.table.Beat(); err != nil {
			d.log.Debug("beating", "err", err)
			tell(d.drifts.table, drift{}) // its event may have been lost
		}
	})
}

// every does something again and again until ctx ends.
func every(ctx context.Context, period time.Duration, do func()) error {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			do()
		}
	}
}

// watchSignals reloads on SIGHUP. Once ctx has ended the signal stays caught: one
// that comes while everything is taken back would end the process in the midst.
func (d *daemon) watchSignals(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.hup:
			d.reload(ctx) // it says itself why it was refused
		}
	}
}

// reload reads the configuration again and goes over to it. Whatever fails,
// the old generation stays in use, and the log says why.
func (d *daemon) reload(ctx context.Context) error {
	err := d.reread(ctx)
	if err != nil {
		d.log.Error("reload refused; the old configuration stays in use", "err", err)
	}
	return err
}

func (d *daemon) reread(ctx context.Context) error {
	cfg, err := config.Load(d.file, false)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return errors.New("the daemon is stopping")
	}
	if err := changeable(d.gen.cfg, cfg); err != nil {
		return err
	}
	if err := d.adopt(cfg); err != nil {
		return err
	}
	d.fights = fights{}
	d.log.Info("reloaded", "file", d.file, "warnings", len(cfg.Warnings))
	return nil
}

// adopt goes over to a configuration, or to the machine as it is now. Whatever
// fails, the old generation stays in use. The caller holds the lock.
func (d *daemon) adopt(cfg *config.Config) error {
	old := d.gen
	next, err := newGeneration(cfg, d.machine, d.log)
	if err != nil {
		return err
	}
	home, err := d.carryOver(next)
	if err != nil {
		next.close()
		return err
	}
	d.gateway.SetPlan(next.gatewayPlan())
	d.gen, d.home = next, home
	d.recordPolicy(cfg)
	d.pool.SetKeep(fakeKeep(cfg))
	d.names.SetDomain(cfg.DNS.LocalDomain)
	d.level.Set(cfg.LogLevel)
	old.close()
	return nil
}

// carryOver makes routes, the DNS plan and the table those of a generation, and
// gives the prefixes of this machine that the table has.
func (d *daemon) carryOver(next *generation) ([]netip.Prefix, error) {
	home, _, err := route.Connected(next.devices)
	if err != nil {
		return nil, err
	}
	ruleset, err := next.ruleset(home, d.names)
	if err != nil {
		return nil, err
	}
	if _, err := d.applyRoutes(next); err != nil {
		return nil, err
	}
	// Addresses that the new policy no longer sends directly leave the maps
	// before the new rules come; nothing is direct that should not be.
	err = d.router.SetPlan(d.dnsPlan(next))
	if err == nil {
		err = d.replaceTable(ruleset)
	}
	if err != nil {
		return nil, errors.Join(err, d.router.SetPlan(d.dnsPlan(d.gen)))
	}
	return home, nil
}

// replaceTable turns the table into that of a ruleset, or makes it anew if
// somebody has removed the old one.
func (d *daemon) replaceTable(rs *nft.Ruleset) error {
	err := d.table.Reload(rs)
	if err == nil {
		return nil
	}
	if present, _ := d.table.Present(); present {
		return err
	}
	if err := d.table.Install(rs, d.fakes); err != nil {
		return err
	}
	d.router.Renewed()
	return nil
}

// changeable refuses what a running daemon cannot change.
func changeable(old, next *config.Config) error {
	var errs []error
	refuse := func(changed bool, option string) {
		if changed {
			errs = append(errs, fmt.Errorf("%s cannot change while fairlead runs: restart it", option))
		}
	}
	refuse(!next.Enabled, "main.enabled")
	refuse(old.StateDir != next.StateDir, "main.state_dir")
	refuse(old.CacheDir != next.CacheDir, "main.cache_dir")
	refuse(old.Control != next.Control, "main.control")
	refuse(old.DNS.Fake4 != next.DNS.Fake4, "dns.fakeip_range")
	refuse(old.DNS.Fake6 != next.DNS.Fake6, "dns.fakeip6_range")
	return errors.Join(errs...)
}

// membersChanged tells the kernel which devices tell a host name that a client
// section lists.
func (d *daemon) membersChanged() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, m := range d.gen.members(d.names) {
		if len(d.gen.sections[i].Hostnames) == 0 {
			continue
		}
		if err := d.table.SetMembers(i, m.MACs, m.Prefixes); err != nil {
			d.log.Warn("telling the kernel of a client's devices", "client", d.gen.sections[i].Name, "err", err)
		}
	}
}
