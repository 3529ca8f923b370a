package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/dnsmasq"
	"github.com/fairlead/fairlead/openwrt/lease"
)

// guardCommand makes the kernel do what main.on_failure says while no daemon
// runs: at boot before the WAN is up, and when the daemon is given up. Closed,
// what would be diverted is refused until a daemon takes over; open, whatever a
// crash left is removed.
func guardCommand(e env, args []string) int {
	fs, file := flags(e, "guard")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	cfg, err := config.Load(*file, false)
	if err != nil {
		return e.fail(err)
	}
	if !cfg.Enabled || !cfg.Closed {
		err = flush(cfg.StateDir, e.dnsmasq)
	} else {
		err = closeDown(cfg, e.dnsmasq)
	}
	if err != nil {
		return e.fail(fmt.Errorf("guarding: %w", err))
	}
	return 0
}

// closeDown installs the table without anybody to divert to. Each of its
// tproxy rules breaks off, and behind it stands a refusal.
func closeDown(cfg *config.Config, system dnsmasq.System) error {
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(cfg.StateDir, "lock"))
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
	if err := table.Probe(); err != nil {
		return err
	}
	if _, err := route.PassBridged(bridgeState(cfg.StateDir)); err != nil && !errors.Is(err, route.ErrUnrecorded) {
		return err
	}
	if _, err := route.Apply(gen.routes(lan)); err != nil {
		return err
	}
	// The router itself and clients whose mode is off still have to ask somebody.
	return errors.Join(table.Install(ruleset, nil), newStandIn(system, cfg.StateDir).giveBack())
}
