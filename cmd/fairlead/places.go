package main

import (
	"os"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// places are where a running fairlead is found. They are read without checking
// the rest of the configuration: whoever made a mistake in it must still be able
// to ask the daemon, or to clean up after it.
type places struct{ stateDir, control string }

func placesOf(file string) places {
	p := places{stateDir: "/var/run/fairlead", control: "/var/run/fairlead/control.sock"}
	text, err := os.ReadFile(file)
	if err != nil {
		return p
	}
	parsed, _ := uci.Parse(string(text))
	for _, s := range parsed.Sections {
		if s.Type != "fairlead" {
			continue
		}
		for _, o := range s.Options {
			switch o.Name {
			case "state_dir":
				p.stateDir = o.Values[0].Text
			case "control":
				p.control = o.Values[0].Text
			}
		}
	}
	return p
}
