package policy_test

import (
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

// household is a policy with one rule of each sort.
func household(t testing.TB) *policy.Policy {
	t.Helper()
	return policy.New(policy.Config{
		Mode:    policy.FakeIP,
		Default: "node",
		Sniff:   true,
		Clients: []policy.Section{
			{Name: "tv", MACs: []policy.MAC{mac(t, "aa:bb:cc:dd:ee:ff")}, Hostnames: []string{"appletv"}, Mode: policy.RealIP, Outbound: "direct"},
			{Name: "guest", Devices: []string{"br-guest"}, Prefixes: prefixes("192.168.2.0/24", "fd00:2::/64"), Mode: policy.Off},
			{Name: "work", Prefixes: prefixes("192.168.1.7/32"), Outbound: "wan2"},
		},
		Rules: []policy.Rule{
			{Name: "ads", Domains: patterns(t, "ads.example", "keyword:tracker"), Outbound: "reject"},
			{Name: "torrents", Protocols: policy.BitTorrent.Set(), Outbound: "direct"},
			{Name: "domestic", Domains: patterns(t, "cn"), Prefixes: prefixes("203.0.113.0/24"), Outbound: "direct"},
			{Name: "games", Clients: []string{"tv"}, Ports: []policy.PortRange{{First: 8000, Last: 9000}}, Protos: policy.SetUDP, Outbound: "wan2"},
			{Name: "office", Domains: patterns(t, "full:intra.corp.example"), Prefixes: prefixes("198.51.100.0/24"), Resolve: true, Outbound: "wan2"},
		},
		RealIP: patterns(t, "msftncsi.com"),
		Outbounds: []policy.Outbound{
			{Name: "node", Kind: policy.Node},
			{Name: "wan2", Kind: policy.Interface, Upstream: "wan2dns"},
		},
		LocalUpstream:  "isp",
		RemoteUpstream: "remote",
	})
}

func TestDecideGivesTheFirstRuleThatMatches(t *testing.T) {
	p := household(t)
	tv, _ := p.ClientByName("tv")
	work, _ := p.ClientByName("work")
	direct := func(rule string) policy.Verdict {
		return policy.Verdict{Outbound: "direct", Kind: policy.Direct, Rule: rule, Upstream: "isp"}
	}
	wan2 := func(rule string) policy.Verdict {
		return policy.Verdict{Outbound: "wan2", Kind: policy.Interface, Rule: rule, Upstream: "wan2dns"}
	}
	node := policy.Verdict{Outbound: "node", Kind: policy.Node, Rule: "default", Upstream: "remote"}
	reject := policy.Verdict{Outbound: "reject", Kind: policy.Reject, Rule: "ads"}
	needsAddr := policy.Verdict{Kind: policy.Reject, Rule: "office", Upstream: "remote", NeedsAddr: true}

	for _, tt := range []struct {
		name string
		flow policy.Flow
		want policy.Verdict
	}{
		{"a name goes the way of its rule", policy.Flow{Host: "shop.cn"}, direct("domestic")},
		{"an earlier rule wins over a later one", policy.Flow{Host: "tracker.cn"}, reject},
		{"a rejected name has no upstream", policy.Flow{Host: "www.ads.example"}, reject},
		{"a name that only ends alike goes another way", policy.Flow{Host: "shopcn", Resolved: []netip.Addr{}}, node},
		{"an address goes the way of its rule", policy.Flow{Addr: addr("203.0.113.9")}, direct("domestic")},
		{"name and address are alternatives", policy.Flow{Host: "shop.cn", Addr: addr("192.0.2.1")}, direct("domestic")},
		{"a mapped address is the IPv4 address it stands for", policy.Flow{Addr: addr("::ffff:203.0.113.9")}, direct("domestic")},
		{"a fake address is in no prefix", policy.Flow{Host: "example.com", Resolved: []netip.Addr{}}, node},
		{"what was resolved is not compared by a rule without resolve", policy.Flow{Host: "example.com", Resolved: addrs("203.0.113.9")}, node},
		{"a sniffed protocol goes the way of its rule", policy.Flow{Addr: addr("192.0.2.1"), Protocol: policy.BitTorrent}, direct("torrents")},
		{"every list of a rule has to hold", policy.Flow{Client: tv, Port: 8000, Proto: policy.UDP}, wan2("games")},
		{"a port outside the range does not", policy.Flow{Client: tv, Port: 9001, Proto: policy.UDP}, direct("default")},
		{"the other transport does not", policy.Flow{Client: tv, Port: 8000, Proto: policy.TCP}, direct("default")},
		{"an unknown transport does not", policy.Flow{Client: tv, Port: 8000}, direct("default")},
		{"another client does not", policy.Flow{Client: work, Port: 8000, Proto: policy.UDP}, wan2("default")},
		{"no rule gives the default of the section", policy.Flow{Client: tv, Addr: addr("192.0.2.1")}, direct("default")},
		{"no rule and no section gives the default of all", policy.Flow{Addr: addr("192.0.2.1")}, node},
		{"a rule with resolve needs the address of a name", policy.Flow{Host: "example.com"}, needsAddr},
		{"but not if it matches by name", policy.Flow{Host: "intra.corp.example"}, wan2("office")},
		{"nor by the address dialled", policy.Flow{Host: "example.com", Addr: addr("198.51.100.1")}, wan2("office")},
		{"nor for a flow without a name", policy.Flow{Addr: addr("192.0.2.1")}, node},
		{"nor if an earlier rule decides", policy.Flow{Host: "shop.cn"}, direct("domestic")},
		{"any address that the name was resolved to counts", policy.Flow{Host: "example.com", Resolved: addrs("192.0.2.1", "198.51.100.1")}, wan2("office")},
		{"a name resolved to other addresses goes on", policy.Flow{Host: "example.com", Resolved: addrs("192.0.2.1")}, node},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.Decide(tt.flow); got != tt.want {
				t.Errorf("Decide(%+v)\n got %+v\nwant %+v", tt.flow, got, tt.want)
			}
		})
	}
}

func mac(t testing.TB, s string) policy.MAC {
	t.Helper()
	m, err := policy.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func patterns(t testing.TB, list ...string) []policy.Pattern {
	t.Helper()
	var ps []policy.Pattern
	for _, s := range list {
		p, err := policy.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(list ...string) []netip.Addr {
	as := []netip.Addr{}
	for _, s := range list {
		as = append(as, addr(s))
	}
	return as
}

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}
