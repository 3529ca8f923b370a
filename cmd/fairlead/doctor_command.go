package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/doctor"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/ubus"
)

// examineEvery is how often a running daemon looks at its machine again: others
// may come later.
const examineEvery = 10 * time.Minute

func doctorCommand(e env, args []string) int {
	fs, file := flags(e, "doctor")
	asJSON := fs.Bool("json", false, "print JSON")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	x, err := examine(*file)
	if err != nil {
		return e.fail(err)
	}
	if *asJSON {
		e.printJSON(x)
	} else {
		x.print(e.out)
	}
	if doctor.Broken(x.Findings) {
		return 1
	}
	return 0
}

// examination is what `fairlead doctor --json` prints.
type examination struct {
	Findings []doctor.Finding `json:"findings"`
}

// examine looks at this machine with the configuration, whether it runs or not.
func examine(file string) (examination, error) {
	cfg, err := config.Load(file, false)
	if err != nil {
		return examination{}, err
	}
	gen, err := newGeneration(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return examination{}, err
	}
	defer gen.close()
	findings := doctor.Examine(caseOf(gen, ask(file, "status", nil) == nil))
	return examination{append([]doctor.Finding{}, findings...)}, nil
}

func (x examination) print(w io.Writer) {
	for _, f := range x.Findings {
		fmt.Fprintf(w, "%-7s %s: %s\n        %s\n", f.Severity, f.Code, f.What, f.Advice)
	}
	if len(x.Findings) == 0 {
		fmt.Fprintln(w, "nothing found that would break fairlead")
	}
}

// caseOf is this machine with a generation of the configuration.
func caseOf(gen *generation, running bool) doctor.Case {
	c := doctor.Case{Devices: gen.devices, Running: running, Kernel: doctor.Kernel{
		Probe: func() error { return probeKernel(gen.cfg) }, Rivals: rivals, Clashes: route.Clashes, HardwareOffload: nft.HardwareOffload,
		Connected: func(devices []string) (map[string][]netip.Prefix, error) {
			_, lan, err := route.Connected(devices)
			return lan, err
		},
		Conntrack: conntrackNetlink,
		Exists:    func(device string) bool { _, err := net.InterfaceByName(device); return err == nil },
		Uplinks:   route.DefaultDevices,
	}}
	if seconds, err := strconv.ParseInt(built, 10, 64); err == nil && seconds > 0 {
		c.Built = time.Unix(seconds, 0)
	}
	c.Unserved, c.Interfaces = gen.unserved(), gen.waysOut()
	if gen.cfg.Policy.LocalUpstream == "auto" {
		c.Announced = gen.wan.resolvers
	}
	c.Services = func() ([]doctor.Service, error) { return servicesOf(ubus.Socket) }
	c.Firewall = wallOf(gen.cfg).unseen(gen)
	return c
}

func probeKernel(cfg *config.Config) error {
	table, err := nft.Open(nft.Options{})
	if err != nil {
		return err
	}
	defer table.Close()
	return probeFor(cfg, table)
}

func conntrackNetlink() error {
	c, err := route.OpenConntrack()
	if err != nil {
		return err
	}
	return c.Close()
}

func rivals() ([]doctor.Rival, error) {
	found, err := nft.Rivals()
	all := make([]doctor.Rival, len(found))
	for i, r := range found {
		all[i] = doctor.Rival(r)
	}
	return all, err
}

// examine looks at the machine at the start and while running, and logs what
// is new.
func (d *daemon) examine(ctx context.Context) error {
	var known []doctor.Finding
	for ctx.Err() == nil {
		d.mu.Lock()
		c := caseOf(d.gen, true)
		d.mu.Unlock()
		c.Kernel.Probe = func() error { return nil } // it runs: nothing is missing
		findings := doctor.Examine(c)
		for _, f := range findings {
			if f.Severity != doctor.Note && !slices.Contains(known, f) {
				d.log.Warn(f.What, "code", f.Code, "advice", f.Advice)
			}
		}
		known = findings
		d.mu.Lock()
		d.findings = findings
		d.mu.Unlock()
		wait(ctx, examineEvery)
	}
	return nil
}

// servicesOf asks procd for what it runs.
func servicesOf(socket string) ([]doctor.Service, error) {
	ctx, cancel := context.WithTimeout(context.Background(), busTime)
	defer cancel()
	bus, err := ubus.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer bus.Close()
	list, err := bus.Call(ctx, "service", "list", ubus.Table{})
	if err != nil {
		return nil, err
	}
	var all []doctor.Service
	for name, s := range list.All() {
		started, running := false, false
		for _, i := range s.Get("instances").All() {
			started, running = true, running || i.Get("running").Bool()
		}
		if started {
			all = append(all, doctor.Service{Name: name, Running: running})
		}
	}
	return all, nil
}
