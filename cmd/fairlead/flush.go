package main

import (
	"errors"
	"fmt"

	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/openwrt/dnsmasq"
)

// flushCommand removes what a crashed daemon left in the kernel. A running one
// is left alone: it would only put everything back.
func flushCommand(e env, args []string) int {
	fs, file := flags(e, "flush")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	if err := end(placesOf(*file).stateDir, e.dnsmasq); err != nil {
		return e.fail(fmt.Errorf("flushing: %w", err))
	}
	return 0
}

// end is flush where no start follows: on_failure is forgotten as well.
func end(stateDir string, system dnsmasq.System) error {
	return errors.Join(flush(stateDir, system), forgetPolicy(stateDir))
}

func flush(stateDir string, system dnsmasq.System) error {
	lock, err := takeLock(stateDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	table, err := nft.Open(nft.Options{})
	if err != nil {
		return err
	}
	defer table.Close()
	return errors.Join(restore(table, stateDir), newStandIn(system, stateDir).giveBack())
}
