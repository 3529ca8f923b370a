package policy

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func decidedAddrs(p *Policy, c Client) map[string]string {
	all := map[string]string{}
	for prefix, v := range p.Addrs(c) {
		all[prefix.String()] = v.Outbound
	}
	return all
}

func prefixesOf(texts ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range texts {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestAddressRulesDecideWhereNoNameCould(t *testing.T) {
	name, err := ParsePattern("foreign.example")
	if err != nil {
		t.Fatal(err)
	}
	node := []Outbound{{Name: "node", Kind: Node}}
	for what, tt := range map[string]struct {
		rules []Rule
		want  map[string]string
	}{
		"an address rule before all names decides": {
			[]Rule{{Prefixes: prefixesOf("203.0.113.0/24"), Outbound: "direct"}, {Domains: []Pattern{name}, Outbound: "node"}},
			map[string]string{"203.0.113.0/24": "direct"},
		},
		"one behind a name of another way does not": {
			[]Rule{{Domains: []Pattern{name}, Outbound: "node"}, {Prefixes: prefixesOf("203.0.113.0/24"), Outbound: "direct"}},
			map[string]string{},
		},
		"one behind a name of the same way does": {
			[]Rule{{Domains: []Pattern{name}, Outbound: "direct"}, {Prefixes: prefixesOf("203.0.113.0/24"), Outbound: "direct"}},
			map[string]string{"203.0.113.0/24": "direct"},
		},
		"one for a port does not": {
			[]Rule{{Prefixes: prefixesOf("203.0.113.0/24"), Ports: []PortRange{{443, 443}}, Outbound: "reject"}},
			map[string]string{},
		},
		"the first of overlapping ones decides, and neighbours of one way are joined": {
			[]Rule{
				{Prefixes: prefixesOf("203.0.113.64/26"), Outbound: "reject"},
				{Prefixes: prefixesOf("203.0.113.0/24", "2001:db8::/32"), Outbound: "direct"},
				{Prefixes: prefixesOf("203.0.112.0/24"), Outbound: "direct"},
			},
			map[string]string{
				"203.0.112.0/24": "direct", "203.0.113.0/26": "direct", "203.0.113.64/26": "reject",
				"203.0.113.128/25": "direct", "2001:db8::/32": "direct",
			},
		},
		"the ends of the address space are no different": {
			[]Rule{{Prefixes: prefixesOf("0.0.0.0/1", "255.255.255.255/32", "ff00::/8"), Outbound: "reject"}},
			map[string]string{"0.0.0.0/1": "reject", "255.255.255.255/32": "reject", "ff00::/8": "reject"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			p := New(Config{Default: "node", Sniff: true, Outbounds: node, RemoteUpstream: "remote", Rules: tt.rules})
			got := decidedAddrs(p, 0)
			if len(got) != len(tt.want) {
				t.Fatalf("Addrs = %v, want %v", got, tt.want)
			}
			for prefix, want := range tt.want {
				if got[prefix] != want {
					t.Errorf("Addrs has %s for %s, want %s", got[prefix], prefix, want)
				}
			}
		})
	}
}

// Whatever Addrs says of an address must be what Decide says of every flow to it,
// whose name may be known by sniffing, or from DNS if that gave a real address.
func TestWhatAddrsSaysHoldsForEveryFlow(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	name, _ := ParsePattern("a.example")
	pick := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(256))}), 24+rng.IntN(9)).Masked()
	}
	outbounds := []string{"direct", "reject", "node"}
	for range 2000 {
		c := Config{Default: "direct", Sniff: rng.IntN(4) > 0, Outbounds: []Outbound{{Name: "node", Kind: Node}}, RemoteUpstream: "r"}
		c.Mode = Mode(rng.IntN(2))
		for range 1 + rng.IntN(6) {
			r := Rule{Outbound: outbounds[rng.IntN(3)]}
			for range rng.IntN(4) {
				r.Prefixes = append(r.Prefixes, pick())
			}
			if rng.IntN(3) == 0 {
				r.Domains = []Pattern{name}
			}
			if rng.IntN(4) == 0 {
				r.Protos = SetTCP
			}
			c.Rules = append(c.Rules, r)
		}
		p := New(c)
		for prefix, v := range p.Addrs(0) {
			for _, addr := range []netip.Addr{prefix.Addr(), lastOf(prefix)} {
				hosts := []string{"", "b.example"}
				if c.Sniff || c.Mode == RealIP {
					hosts = append(hosts, "a.example")
				}
				for _, host := range hosts {
					for _, proto := range []Proto{TCP, UDP} {
						if got := p.Decide(Flow{Host: host, Addr: addr, Proto: proto, Port: 443}); got.Outbound != v.Outbound {
							t.Fatalf("Addrs sends %s to %s, but Decide sends %q at %s over %s to %s\nrules: %+v", prefix, v.Outbound, host, addr, proto, got.Outbound, c.Rules)
						}
					}
				}
			}
		}
	}
}

func BenchmarkAddrsOfTenThousandPrefixes(b *testing.B) {
	var r Rule
	for i := range 10_000 {
		r.Prefixes = append(r.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 25))
	}
	r.Outbound = "direct"
	p := New(Config{Default: "node", Sniff: true, Outbounds: []Outbound{{Name: "node", Kind: Node}}, RemoteUpstream: "r", Rules: []Rule{r}})
	for b.Loop() {
		n := 0
		for range p.Addrs(0) {
			n++
		}
		if n != 10_000 {
			b.Fatalf("%d prefixes, want 10000", n)
		}
	}
}
