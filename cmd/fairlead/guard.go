package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/dnsmasq"
	"github.com/fairlead/fairlead/openwrt/lease"
	"github.com/fairlead/fairlead/openwrt/uci"
)

// guardCommand makes the kernel do what main.on_failure says while no daemon
// runs: at boot before the WAN is up, and when the daemon crashes again and again.
// Closed, what would be diverted is refused until a daemon takes over; open,
// whatever a crash left is removed.
func guardCommand(e env, args []string) int {
	fs, file := flags(e, "guard")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	cfg, err := config.Load(*file, false)
	if err == nil {
		err = guard(cfg, e.dnsmasq)
	} else {
		err = guardUnread(*file, e.dnsmasq)
	}
	if err != nil {
		return e.fail(err)
	}
	return 0
}

// guard makes the kernel do what a configuration says of failures.
func guard(cfg *config.Config, system dnsmasq.System) error {
	do := flushed
	if cfg.Enabled && cfg.Closed {
		do = closeDown
	}
	if err := do(cfg, system); err != nil {
		return fmt.Errorf("guarding: %w", err)
	}
	return nil
}

func flushed(cfg *config.Config, system dnsmasq.System) error { return flush(cfg.StateDir, system) }

// guardUnread is guard where the configuration has mistakes. What it would divert
// nobody can tell then, so closed means that nothing of the LAN leaves at all. The
// router itself can still be reached, to mend it.
func guardUnread(file string, system dnsmasq.System) error {
	p := placesOf(file)
	cfg := &config.Config{File: file, StateDir: p.stateDir}
	if p.closes() {
		var err error
		if cfg, err = p.refusal(file); err != nil {
			return fmt.Errorf("guarding: finding out which network to close: %w", err)
		}
	}
	return guard(cfg, system)
}

// refusal is a configuration that has nothing of the LAN leave, with as much of
// section main as that takes.
func (p places) refusal(file string) (*config.Config, error) {
	main := &uci.Section{Type: "fairlead", Name: "main"}
	say := func(name, value string) {
		main.Options = append(main.Options, &uci.Option{Name: name, Values: []uci.Value{{Text: value}}})
	}
	for _, name := range []string{"network", "device"} {
		if o := p.main.Option(name); o != nil {
			main.Options = append(main.Options, o)
		}
	}
	say("enabled", "1")
	say("on_failure", policyClosed)
	say("default", "reject")
	say("state_dir", p.stateDir)
	text := (&uci.File{Sections: []*uci.Section{main}}).String()
	noRulesets := func(string) (io.ReadCloser, error) { return nil, fs.ErrNotExist }
	return config.Parse(file, strings.NewReader(text), noRulesets, false)
}

// closeDown installs the table without anybody to divert to. Each of its
// tproxy rules breaks off, and behind it stands a refusal.
func closeDown(cfg *config.Config, system dnsmasq.System) error {
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	lock, err := takeLock(cfg.StateDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	log := slog.New(slog.DiscardHandler)
	gen, err := newGeneration(cfg, nil, log)
	if err != nil {
		return err
	}
	defer gen.close()
	home, lan, err := route.Connected(gen.devices)
	if err != nil {
		return err
	}
	ruleset, err := gen.ruleset(home, lease.NewBook(namesOf(cfg), cfg.DNS.LocalDomain, log))
	if err != nil {
		return err
	}
	table, err := nft.Open(nft.Options{})
	if err != nil {
		return err
	}
	defer table.Close()
	if err := probeFor(cfg, table); err != nil {
		return err
	}
	if _, err := route.PassBridged(sysctlState(cfg.StateDir)); err != nil && !errors.Is(err, route.ErrUnrecorded) {
		return err
	}
	if _, err := route.Apply(gen.routes(lan)); err != nil {
		return err
	}
	// The router itself and clients whose mode is off still have to ask somebody.
	return errors.Join(table.Install(ruleset, nil), newStandIn(system, cfg.StateDir).giveBack())
}
