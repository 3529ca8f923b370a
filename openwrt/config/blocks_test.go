package config

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestDoHIsBlockedForWhomItIsSaidTo(t *testing.T) {
	const others = "config client 'tv'\n\tlist ip 192.168.1.5\n\toption block_doh 1\n" +
		"config client 'phone'\n\tlist ip 192.168.1.6\n\toption block_doh 0\n" +
		"config client 'desk'\n\tlist ip 192.168.1.7\n"
	for _, tt := range []struct {
		sentence, dns string
		blocked       []bool // by policy.Client
	}{
		{"by default nobody but who says so", "", []bool{false, true, false, false}},
		{"everyone but who says otherwise", "config dns\n\toption block_doh 1\n", []bool{true, true, false, true}},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			cfg, err := parse(tt.dns+others, true)
			if err != nil {
				t.Fatal(err)
			}
			p := policy.New(cfg.Policy)
			for client, want := range tt.blocked {
				if got := p.Name(policy.Client(client), "chrome.cloudflare-dns.com"); got.AllReject != want || want && got.First.Rule != "block_doh" {
					t.Errorf("client %d: rejected: %t by %q, want %t by block_doh", client, got.AllReject, got.First.Rule, want)
				}
				if !p.Name(policy.Client(client), "www.foreign.example").AllDirect {
					t.Errorf("client %d: another name does not leave directly any more", client)
				}
				if got := cfg.Blocks[client]; got.DoH != want || !got.DoT {
					t.Errorf("client %d: %+v, want DoT and DoH: %t", client, got, want)
				}
			}
			if !slices.Contains(cfg.DoHServers, netip.MustParsePrefix("8.8.8.8/32")) {
				t.Errorf("the addresses are %v, want 8.8.8.8 among them", cfg.DoHServers)
			}
		})
	}
}

func TestNoRuleIsAddedWhereDoHIsNotBlocked(t *testing.T) {
	cfg, err := parse("config client\n\tlist ip 192.168.1.5\n\toption block_dot 0\n", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range cfg.Policy.Rules {
		if r.Name == dohRule {
			t.Errorf("there is a rule %s, want none", r.Name)
		}
	}
	if len(cfg.DoHServers) > 0 || cfg.Blocks[1].DoT || !cfg.Blocks[0].DoT {
		t.Errorf("addresses %v, blocks %v, want no addresses and DoT for all but the client", cfg.DoHServers, cfg.Blocks)
	}
}

func TestTheListOfDoHServersIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### Known DNS over HTTPS servers\n")
	_, list, _ := strings.Cut(section, "```\n")
	if list, _, _ = strings.Cut(list, "```"); list != dohServers {
		t.Errorf("docs/configuration.md lists\n%s\nwant\n%s", list, dohServers)
	}
	if !regexp.MustCompile(`^# \d{4}-\d\d-\d\d\n`).MatchString(dohServers) {
		t.Error("the list does not begin with the date that is its version")
	}
	names, addrs := known(dohServers)
	entries := 0
	for line := range strings.Lines(dohServers) {
		if line[0] != '#' {
			entries++
		}
	}
	if len(names)+len(addrs) != entries {
		t.Errorf("the list has %d lines, of which %d names and %d addresses can be read", entries, len(names), len(addrs))
	}
}
