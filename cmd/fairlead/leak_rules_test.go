package main

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// everyone asks for a name and goes there: laptop by a fake address, tv by a
// real one.
func everyone(p *probe) {
	for _, client := range []string{"laptop", "tv"} {
		p.ask(client, p.name(), lab.TypeAAAA)
		p.visit(client, "https://"+p.name()+"/")
	}
}

const (
	rest  = "config rule\n\tlist domain 'foreign.example'\n\toption outbound 'node'\n"
	first = "config rule\n\tlist ip '203.0.113.0/24'\n\toption outbound 'node'\n"
)

func TestLeak_L01_AnAddressRuleBeforeANameRuleResolvesNothing(t *testing.T) {
	leakCase{
		config: lab.Config{Rules: first + rest},
		leaky: func(h *home, text string) string {
			return remoteIsISP(h, replaced(text, "list ip", "option resolve '1'\n\tlist ip"))
		},
		act: everyone,
	}.run(t)
}

func TestLeak_L02_ATrailingAddressRuleDoesNotAskTheLocalUpstream(t *testing.T) {
	leakCase{
		config: lab.Config{
			Default: "node",
			Rules: "config rule\n\tlist domain 'domestic.example'\n\toption outbound 'direct'\n" +
				"config rule\n\tlist ip '203.0.113.0/24'\n\toption outbound 'direct'\n",
		},
		leaky: remoteIsISP,
		act:   everyone,
	}.run(t)
}

func TestLeak_L04_UnmatchedNamesGoThroughTheNodeByDefault(t *testing.T) {
	leakCase{
		config: lab.Config{Default: "node"},
		leaky:  func(_ *home, text string) string { return replaced(text, "default 'node'", "default 'direct'") },
		act: func(p *probe) {
			for i := range 50 {
				name := fmt.Sprintf("%s.x%d.example", p.label, rand.IntN(1<<30))
				p.ask([]string{"laptop", "tv"}[i%2], name, lab.TypeA)
			}
			p.ask("tv", "www.domestic.example", lab.TypeA)
		},
	}.run(t)
}

func TestLeak_L05_ARealAnswerIsNotARaceWithTheLocalUpstream(t *testing.T) {
	leakCase{
		config: lab.Config{},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			a := p.ask("tv", p.name(), lab.TypeA)
			if !p.control && (len(a.Addrs) != 1 || a.Addrs[0] != p.At.Foreign.V4) {
				p.t.Errorf("addresses = %v, want the true one, %s", a.Addrs, p.At.Foreign.V4)
			}
		},
	}.run(t)
}

func TestLeak_L06_EveryTypeOfANameGoesTheSameWay(t *testing.T) {
	leakCase{
		config: lab.Config{},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			types := []uint16{65400, 65534, 65535}
			for i := range uint16(260) {
				types = append(types, i+1)
			}
			for range 20 {
				types = append(types, uint16(261+rand.IntN(65000)))
			}
			for _, qtype := range types {
				for _, client := range []string{"laptop", "tv"} {
					p.ask(client, p.name(), qtype)
				}
			}
		},
	}.run(t)
}

func TestLeak_L09_WithoutIPv6NothingLeavesOverIt(t *testing.T) {
	leakCase{
		config: lab.Config{Main: []string{"option ipv6 '0'"}},
		act: func(p *probe) {
			for _, client := range []string{"laptop", "tv"} {
				for _, name := range []string{p.name(), "www.domestic.example"} {
					a := p.ask(client, name, lab.TypeAAAA)
					p.rcode(a, lab.NoError)
					if !p.control && len(a.Addrs) > 0 {
						p.t.Errorf("%s was told %v for %s, want no IPv6 address", client, a.Addrs, name)
					}
				}
				_, err := p.Clients[client].GetHTTPAt(p.ctx(), p.At.Foreign.V6, "http://"+p.name()+"/")
				if err == nil && !p.control {
					p.t.Errorf("%s reached %s, want it refused", client, p.At.Foreign.V6)
				}
			}
		},
		proof: nobody,
	}.run(t)
}
