package nft

import (
	"flag"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

var update = flag.Bool("update", false, "write the golden rulesets anew")

func prefixes(texts ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range texts {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// house is a router with one realip group, as small as a Config gets.
func house() Config {
	return Config{
		LAN:    []string{"br0"},
		Home:   prefixes("192.168.77.0/24", "203.0.113.0/24", "fe80::/10", "2001:db8:77::/64"),
		Fake4:  netip.MustParsePrefix("198.18.0.0/15"),
		Fake6:  netip.MustParsePrefix("2001:2::/64"),
		Groups: []Group{{Mode: policy.RealIP, Rest: RestRelay}},
	}
}

func family3() Config {
	c := house()
	c.LAN = []string{"br0", "br1"}
	c.DoHServers = prefixes("8.8.8.8/32", "9.9.9.8/29", "2620:fe::fe/128")
	c.Groups = []Group{
		{Mode: policy.FakeIP, Rest: RestDirect, RefuseDoT: true},
		{Mode: policy.RealIP, Rest: RestRelay, RefuseDoT: true, RefuseDoH: true},
		{Mode: policy.Off},
		{Mode: policy.FakeIP, Rest: RestRelay},
	}
	c.Members = []Members{
		{Group: 1, MACs: []policy.MAC{{2, 0, 0, 0, 0, 0x20}, {2, 0, 0, 0, 0, 0x21}}},
		{Group: 2, Prefixes: prefixes("192.168.77.5/32", "2001:db8:77::5/128")},
		{Group: 3, Prefixes: prefixes("192.168.88.0/28", "192.168.88.4/30"), Devices: []string{"br1"}},
	}
	return c
}

// outwards is a house with two ways out besides the direct one.
func outwards() Config {
	c := house()
	c.Interfaces = []Interface{{N: 3, Device: "wg0", Masq: true}, {N: 15, Device: "wan-b"}}
	return c
}

func addrWays(w Way, texts ...string) []AddrWay {
	var all []AddrWay
	for _, p := range prefixes(texts...) {
		all = append(all, AddrWay{p, w})
	}
	return all
}

// mapped has address rules: neighbours that go different ways, the ends of both
// families, and a group without sets of ways.
func mapped() Config {
	c := outwards()
	both := slices.Concat(
		addrWays(DirectWay, "0.0.0.0/8", "10.0.0.0/9"), addrWays(InterfaceWay(3), "10.128.0.0/9"), addrWays(Relay, "11.0.0.0/32"),
		addrWays(Refuse, "11.0.0.1/32"), addrWays(DirectWay, "255.255.255.255/32"),
		addrWays(DirectWay, "2001:db8::/33"), addrWays(Relay, "2001:db8:8000::/33"), addrWays(InterfaceWay(15), "ff00::/8"))
	c.Groups = []Group{
		{Mode: policy.FakeIP, Rest: RestDirect, Addrs: both},
		{Mode: policy.RealIP, Rest: RestRelay, Addrs: both},
		{Mode: policy.RealIP, Rest: RestRelay, Addrs: addrWays(DirectWay, "192.0.2.0/24")},
		{Mode: policy.Off, Addrs: both},
	}
	return c
}

// ownToo diverts the router's own traffic, too.
func ownToo() Config {
	c := outwards()
	c.Interfaces = c.Interfaces[:1]
	c.Router = true
	return c
}

// zoned has a firewall: a zone that may reach nothing, and one that a rule of each kind holds for.
func zoned() Config {
	c := family3()
	ports := func(first, last uint16) []policy.PortRange { return []policy.PortRange{{First: first, Last: last}} }
	tv := []policy.MAC{{2, 0, 0, 0, 0, 0x20}}
	c.Zones = []Zone{
		{Devices: []string{"br1"}, Forward: []Judgement{{Refuse: true}}, Input: []Judgement{{Proto: policy.UDP}, {Family: 6, Refuse: true}}},
		{Devices: []string{"br0", "br0.10"}, Forward: []Judgement{
			{MACs: Choice[policy.MAC]{Of: tv}, Proto: policy.TCP, TargetPorts: Choice[policy.PortRange]{Of: append(ports(80, 90), ports(85, 443)...)}},
			{MACs: Choice[policy.MAC]{Not: tv}, SourcePorts: Choice[policy.PortRange]{Not: append(ports(1, 1), ports(65535, 65535)...)}, Refuse: true},
			{Sources: Choice[netip.Prefix]{Of: prefixes("192.168.77.32/27", "192.168.77.5/32")}, Targets: Choice[netip.Prefix]{Not: prefixes("192.0.2.0/24", "2001:db8::/32")}, Refuse: true},
			{Sources: Choice[netip.Prefix]{Of: prefixes("192.168.77.9/32"), Not: prefixes("2001:db8:77::9/128")}, MACs: Choice[policy.MAC]{Of: tv, Not: tv}, Family: 6, Refuse: true},
			{Sources: Choice[netip.Prefix]{Of: prefixes("192.168.77.9/32")}, Targets: Choice[netip.Prefix]{Of: prefixes("2001:db8::/32")}, Refuse: true},
		}},
	}
	return c
}

func configs() map[string]Config {
	closed, v4only := house(), house()
	closed.Closed = true
	v4only.RefuseIPv6 = true
	closedToo := ownToo()
	closedToo.Closed, closedToo.RefuseIPv6 = true, true
	return map[string]Config{"open": house(), "closed": closed, "noipv6": v4only, "groups": family3(), "interfaces": outwards(), "addresses": mapped(),
		"zones": zoned(), "router": ownToo(), "router-closed": closedToo}
}

func build(t testing.TB, c Config) *Ruleset {
	t.Helper()
	rs, err := Build(c)
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	return rs
}

func open(t testing.TB, netns int) *Table {
	t.Helper()
	table, err := Open(Options{NetNS: netns})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return table
}

func install(t testing.TB, netns int, c Config) *Table {
	t.Helper()
	table := open(t, netns)
	if err := table.Install(build(t, c), nil); err != nil {
		t.Fatalf("Install: %v", err)
	}
	return table
}

func TestTheTextIsTheGoldenOne(t *testing.T) {
	for name, c := range configs() {
		t.Run(name, func(t *testing.T) {
			file := "testdata/" + name + ".nft"
			got := build(t, c).String()
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("String() differs from %s (go test -run Golden -update):\n%s", file, got)
			}
		})
	}
}

func TestTheKernelHoldsTheSameByNetlinkAsByText(t *testing.T) {
	for name, c := range configs() {
		t.Run(name, func(t *testing.T) {
			ns := enterNetNS(t)
			rs := build(t, c)
			run(t, rs.String(), "nft", "-f", "-")
			want := listing(t)
			run(t, "", "nft", "flush", "ruleset")

			if err := open(t, ns).Install(rs, nil); err != nil {
				t.Fatalf("Install: %v", err)
			}
			if got := withoutElements(listing(t), aliveSet); got != want {
				t.Errorf("by netlink:\n%s\nby text:\n%s", got, want)
			}
		})
	}
}

var elementList = regexp.MustCompile(`(?s)elements = \{(.*?)\}`)

// listing is what nft lists, with the elements of hash sets in order: the
// kernel gives them in that of a random hash.
func listing(t testing.TB) string {
	t.Helper()
	out := run(t, "", "nft", "list", "table", "inet", TableName)
	return elementList.ReplaceAllStringFunc(out, func(list string) string {
		inner := elementList.FindStringSubmatch(list)[1]
		words := strings.Split(inner, ",")
		for i := range words {
			words[i] = strings.Join(strings.Fields(words[i]), " ")
		}
		slices.Sort(words)
		return "elements = { " + strings.Join(words, ", ") + " }"
	})
}

// withoutElements leaves out those of one set.
func withoutElements(listing, set string) string {
	of := regexp.MustCompile(`(?s)(set ` + set + ` \{[^}]*?)\n\t\telements = \{[^}]*\}`)
	return of.ReplaceAllString(listing, "$1")
}

func sortStrings(all []string) []string {
	slices.Sort(all)
	return all
}
