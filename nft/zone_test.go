package nft

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestPortsThatOverlapOrTouchAreMerged(t *testing.T) {
	got := texts(portElements([]policy.PortRange{{First: 100, Last: 200}, {First: 443, Last: 443}, {First: 1, Last: 99}, {First: 150, Last: 160}, {First: 65000, Last: 65535}}))
	if want := "1-200, 443, 65000-65535"; got != want {
		t.Errorf("portElements = %q, want %q", got, want)
	}
}

func TestAFirewallThatRefusesNothingLeavesTheTableAsItWas(t *testing.T) {
	c := house()
	c.Zones = []Zone{{Devices: []string{"br0"}}}
	with, without := build(t, c).String(), build(t, house()).String()
	chains := func(s string) string { return s[strings.Index(s, "chain "):strings.Index(s, "comment")] }
	if chains(with) != chains(without) {
		t.Errorf("the chains are\n%s\nwant\n%s", chains(with), chains(without))
	}
}

func TestAZoneThatNoPacketCanBeOfIsRefused(t *testing.T) {
	c := house()
	c.Zones = []Zone{{Devices: []string{"br*"}, Forward: []Judgement{{Family: 5}, {Proto: 1}}, Input: []Judgement{{Sources: Choice[netip.Prefix]{Not: []netip.Prefix{{}}}}}}}
	_, err := Build(c)
	for _, want := range []string{"br*", "IP version 5", "protocol 1", "is no prefix"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Build = %v, want it to say %q", err, want)
		}
	}
}

func TestAFirewallThatChangesIsTakenOverByAReload(t *testing.T) {
	ns := enterNetNS(t)
	table := install(t, ns, house())
	for _, c := range []Config{zoned(), house(), zoned()} {
		rs := build(t, c)
		check(t, "Reload", table.Reload(rs))
		present, err := table.Present()
		check(t, "Present", err)
		if !present {
			t.Errorf("the kernel does not have the ruleset %s, want all of it after a reload", rs.Fingerprint())
		}
	}
}
