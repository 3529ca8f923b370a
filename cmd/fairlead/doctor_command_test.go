package main

import (
	"slices"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestInterfacesOfClientsThatAreNotServedAreKnown(t *testing.T) {
	g := &generation{devices: []string{"br-lan", "wg0"}, sections: []policy.Section{{Devices: []string{"wg0", "lan3"}}, {Devices: []string{"br-lan", "lan3", "lan1"}}}}
	if got, want := g.unserved(), []string{"lan1", "lan3"}; !slices.Equal(got, want) {
		t.Errorf("not served are %v, want %v", got, want)
	}
}
