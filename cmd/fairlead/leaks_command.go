package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
	"github.com/fairlead/fairlead/gateway/device"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/lease"
)

// leaksCommand watches for a time, or shows what the daemon has seen so far, if
// option leak_monitor has it watch.
func leaksCommand(e env, args []string) int {
	fs, file := flags(e, "leaks")
	asJSON := fs.Bool("json", false, "print JSON")
	long := fs.String("for", "", "watch for a `TIME` such as 60s, 10m or 1h; without it, show what\na fairlead with option leak_monitor has seen, or watch a minute")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	forTime, err := parseTime(or(*long, "60s"))
	if err != nil {
		return e.fail(err)
	}
	show := func(r leaks.Report) { r.Print(e.out) }
	r, err := leaksOf(*file)
	if *long != "" || err != nil {
		show = func(r leaks.Report) { r.PrintSum(e.out) } // the leaks were printed when they were seen
		r, err = e.watchLeaks(*file, forTime, !*asJSON)
	}
	if err != nil {
		return e.fail(err)
	}
	if *asJSON {
		e.printJSON(r)
	} else {
		show(r)
	}
	if r.Counts.Leak > 0 {
		return 1
	}
	return 0
}

// leaksOf is what the running daemon has seen.
func leaksOf(file string) (r leaks.Report, err error) {
	err = ask(file, "leaks", &r)
	return r, err
}

// maxLines are remembered, to be printed once.
const maxLines = 4096

// parseTime reads what a day can be at most, in seconds, minutes or hours.
func parseTime(text string) (time.Duration, error) {
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}
	number := strings.TrimRight(text, "smh")
	n, err := strconv.ParseUint(number, 10, 16)
	unit, ok := units[text[len(number):]]
	if err != nil || !ok || n == 0 || time.Duration(n)*unit > 24*time.Hour {
		return 0, fmt.Errorf("%q is no time up to a day: write it as 60s, 10m or 1h", text)
	}
	return time.Duration(n) * unit, nil
}

// watchLeaks captures what leaves, in this process: it goes on when the daemon dies.
func (e env) watchLeaks(file string, long time.Duration, print bool) (leaks.Report, error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	watch, err := newWatch(file)
	if err != nil {
		return leaks.Report{}, err
	}
	defer watch.close()
	seen := map[string]bool{}
	m := leaks.NewMonitor(watch.monitor(func(f leaks.Finding) {
		if line := f.Line(); print && !seen[line] && len(seen) < maxLines {
			seen[line] = true
			fmt.Fprintln(e.out, line)
		}
	}))
	err = m.Serve(ctx, func() {
		fmt.Fprintf(e.err, "watching %s; each kind of question is printed once\n", strings.Join(m.Report().Devices, ", "))
	})
	r := m.Report()
	if err == nil && len(r.Devices) == 0 {
		err = errors.New("nothing was watched: there is no default route")
	}
	return r, err
}

// watch is what a Monitor needs, outside the daemon.
type watch struct {
	control string
	gen     *generation
	rules   *leaks.Rules
	own     ownAddresses
	flows   *route.Conntrack // may be nil
	devices *device.Table
}

func newWatch(file string) (*watch, error) {
	cfg, err := config.Load(file, false)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	gen, err := newGeneration(cfg, nil, log)
	if err != nil {
		return nil, err
	}
	w := &watch{control: placesOf(file).control, gen: gen, rules: gen.leakRules()}
	w.devices = device.New(lease.NewBook(namesOf(cfg), cfg.DNS.LocalDomain, log), log)
	w.flows, _ = route.OpenConntrack() // without it nobody can be named
	return w, nil
}

func (w *watch) close() {
	w.gen.close()
	if w.flows != nil {
		w.flows.Close()
	}
}

func (w *watch) monitor(found func(leaks.Finding)) leaks.Config {
	return leaks.Config{
		Devices: func() ([]string, error) {
			w.own.look()
			return wanDevices(w.gen)
		},
		Rules: func() *leaks.Rules { return w.rules },
		Record: func(since uint64) (entries []leaks.Asked, next uint64, err error) {
			var r recordAnswer
			err = askAt(w.control, "asked "+strconv.FormatUint(since, 10), &r)
			return r.Entries, r.Next, err
		},
		Who:   senders{w.flows, w.own.has, w.devices.Device}.of,
		Found: found,
	}
}

// recordAnswer is what the daemon says to `asked N`.
type recordAnswer struct {
	Entries []leaks.Asked `json:"entries"`
	Next    uint64        `json:"next"`
}

// wanDevices are the interfaces with default routes that are not served.
func wanDevices(g *generation) ([]string, error) {
	all, err := route.AllDefaultDevices()
	return slices.DeleteFunc(all, func(d string) bool { return slices.Contains(g.devices, d) }), err
}

// senders tells who sent what leaves by the WAN.
type senders struct {
	flows  *route.Conntrack // may be nil
	own    func(netip.Addr) bool
	device func(netip.Addr) policy.Device
}

// of finds the device behind a packet of a flow. An address of the router's own
// may stand for anybody, until the kernel's table of flows says that it does not.
func (s senders) of(proto uint8, src, dst netip.AddrPort) leaks.Sender {
	from, known := src, false
	if s.flows != nil {
		if origin, ok, err := s.flows.Origin(proto, src, dst); err == nil && ok {
			from, known = origin, true
		}
	}
	switch {
	case !s.own(from.Addr()):
		return leaks.Sender{Device: s.device(from.Addr())}
	case known:
		return leaks.Sender{Router: true}
	}
	return leaks.Sender{}
}
