package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// networks gives the Linux interfaces of OpenWrt's networks.
type networks map[string][]string

// readNetworks reads OpenWrt's network configuration, which may be missing:
// then networks have to be given as devices.
func readNetworks(path string) (networks, error) {
	text, err := uci.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return networks{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the networks: %w", err)
	}
	file, _ := uci.Parse(text) // its mistakes are netifd's affair
	all := networks{}
	for _, s := range file.Sections {
		if s.Type != "interface" {
			continue
		}
		for _, o := range s.Options {
			if o.Name == "device" || o.Name == "ifname" {
				for _, v := range o.Values {
					all[s.Name] = append(all[s.Name], strings.Fields(v.Text)...)
				}
			}
		}
	}
	return all, nil
}

// devices adds the interfaces of some networks to devices named as such.
func (n networks) devices(devices, names []string, log *slog.Logger) []string {
	all := slices.Clone(devices)
	for _, name := range names {
		found := n[name]
		if len(found) == 0 {
			log.Warn("a network has no device yet", "network", name)
		}
		for _, d := range found {
			if !slices.Contains(all, d) {
				all = append(all, d)
			}
		}
	}
	return all
}
