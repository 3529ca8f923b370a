package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway/outbound"
	"github.com/fairlead/fairlead/gateway/policy"
)

// compare reports every field in which two structs of one type differ.
func compare(t *testing.T, got, want any) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		if a, b := g.Field(i).Interface(), w.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			t.Errorf("%s is\n%+v, want\n%+v", g.Type().Field(i).Name, a, b)
		}
	}
}

func pattern(t *testing.T, s string) policy.Pattern {
	t.Helper()
	p, err := policy.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func set(t *testing.T, text string) *policy.Set {
	t.Helper()
	s, err := policy.ParseSet(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnEmptyFileIsTheDefaults(t *testing.T) {
	got, err := parse("", true)
	if err != nil {
		t.Fatal(err)
	}
	rules := got.Policy.Rules
	if len(rules) != 1 || rules[0].Name != "essentials" || len(rules[0].Domains) != len(got.Policy.RealIP) {
		t.Errorf("rules = %+v, want the one for essential names, which are answered truly", rules)
	}
	got.Policy.Rules, got.Policy.RealIP = nil, nil
	compare(t, *got, Config{
		File:     "f",
		IPv6:     true,
		LogLevel: slog.LevelInfo,
		StateDir: "/var/run/fairlead",
		CacheDir: "/var/run/fairlead",
		Control:  "/var/run/fairlead/control.sock",
		Blocks:   []Blocks{{DoT: true}},
		Policy:   policy.Config{Mode: policy.FakeIP, Default: "direct", Sniff: true, LocalUpstream: "auto"},
		DNS: dnsrouter.Config{
			Fake4:            netip.MustParsePrefix("198.18.0.0/15"),
			Fake6:            netip.MustParsePrefix("2001:2::/64"),
			FakeTTL:          1,
			RejectAnswer:     dnsrouter.NXDomain,
			CacheBytes:       2 << 20,
			ServeStale:       24 * time.Hour,
			RebindProtection: true,
			TimeServers:      listed(timeNames),
			LocalDomain:      "lan",
			Canaries:         true,
			IPv6:             true,
		},
	})
}

func TestEveryOptionReachesItsComponent(t *testing.T) {
	text, err := os.ReadFile("testdata/full.uci")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(string(text), true)
	if err != nil {
		t.Fatal(err)
	}
	rules, dns := got.Policy, got.DNS
	rules.Rules = rules.Rules[1:] // that of block_doh: see blocks_test.go
	rest := *got
	rest.Policy, rest.DNS, rest.DoHServers, rest.Warnings = policy.Config{}, dnsrouter.Config{}, nil, nil
	compare(t, rest, wantRest())
	compare(t, rules, wantPolicy(t))
	compare(t, dns, dnsrouter.Config{
		Fake4:         netip.MustParsePrefix("28.0.0.0/8"),
		Fake6:         netip.MustParsePrefix("fd00:1::/64"),
		FakeTTL:       60,
		RejectAnswer:  dnsrouter.Zero,
		CacheBytes:    65536,
		RebindDomains: []policy.Pattern{pattern(t, "corp.example")},
		TimeServers:   listed(timeNames),
		LocalDomain:   "home.example",
	})
}

func wantRest() Config {
	isp, remote6 := netip.MustParseAddrPort("203.0.113.53:53"), netip.MustParseAddrPort("[2001:db8::53]:5353")
	return Config{
		File:     "f",
		Enabled:  true,
		Networks: []string{"lan", "guest"},
		Devices:  []string{"br0"},
		Closed:   true,
		Router:   true,
		LogLevel: slog.LevelWarn,
		StateDir: "/tmp/fairlead",
		CacheDir: "/mnt/cache",
		Control:  "/tmp/fairlead.sock",
		Replace:  true,

		LeakMonitor: true,
		Upstreams: []upstream.Config{
			{Name: "isp", Outbound: "direct", Servers: []upstream.Server{
				{Scheme: "udp", Addr: isp},
				{Scheme: "tcp", Addr: remote6},
				{Scheme: "auto"},
			}},
			{Name: "remote", Outbound: "node", Servers: []upstream.Server{
				{Scheme: "tls", Host: "dns.example", Addr: netip.AddrPortFrom(netip.Addr{}, 853)},
				{Scheme: "https", Host: "192.0.2.53", Addr: netip.MustParseAddrPort("192.0.2.53:443"), Path: "/dns-query"},
				{Scheme: "https", Host: "dns.example", Addr: netip.AddrPortFrom(netip.Addr{}, 8443), Path: "/q?x=y"},
			}, Bootstrap: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[2001:db8::1]:54")}},
		},
		Outbounds: []outbound.Config{
			{Name: "node", Type: "socks5", Server: "node.example", Port: 1080, Username: "u", Password: "it's", Masq: true},
			{Name: "wg", Type: "interface", Device: "wg0", Gateway: netip.MustParseAddr("10.0.0.1"), Upstream: "remote"},
		},
		Rulesets: []Ruleset{
			{Name: "names", Path: "/etc/names.txt", Outbound: "direct", Interval: 24 * time.Hour},
			{Name: "fetched_too", URL: "https://lists.example/x", Outbound: "node", Interval: time.Hour, Category: "cn"},
			{Name: "unused", Path: "/etc/gone.txt", Outbound: "direct", Interval: 24 * time.Hour},
		},
		Blocks:         []Blocks{{DoH: true}, {DoH: true}, {DoT: true}},
		ClientNetworks: [][]string{{"guest"}, nil},
	}
}

func wantPolicy(t *testing.T) policy.Config {
	return policy.Config{
		Mode:    policy.RealIP,
		Default: "node",
		Clients: []policy.Section{
			{Name: "tv", MACs: []policy.MAC{{0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}},
				Prefixes:  []netip.Prefix{netip.MustParsePrefix("192.168.1.50/32"), netip.MustParsePrefix("2001:db8:1::/48")},
				Hostnames: []string{"appletv"}, Devices: []string{"eth0.3"}, Mode: policy.Off, Outbound: "wg"},
			{Name: "@client[1]", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.51/32")}, Mode: policy.RealIP},
		},
		Rules: []policy.Rule{
			{Name: "video", Clients: []string{"tv"}, Domains: []policy.Pattern{pattern(t, "full:video.example")},
				Prefixes:  []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
				Ports:     []policy.PortRange{{First: 443, Last: 443}, {First: 8000, Last: 9000}},
				Protos:    policy.SetTCP | policy.SetUDP,
				Protocols: 1<<policy.TLS | 1<<policy.QUIC,
				Outbound:  "wg", Resolve: true},
			{Name: "domestic", Sets: []*policy.Set{set(t, "example.cn\n"), set(t, "example.cn\n")}, Outbound: "direct"},
			{Name: "@rule[2]", Domains: []policy.Pattern{pattern(t, "ads.example")}, Outbound: "reject"},
			{Name: "essentials", Domains: []policy.Pattern{pattern(t, "full:online.example")}, Outbound: "direct"},
		},
		RealIP:         []policy.Pattern{pattern(t, "msftncsi.com"), pattern(t, "full:online.example")},
		Router:         true,
		Outbounds:      []policy.Outbound{{Name: "node", Kind: policy.Node}, {Name: "wg", Kind: policy.Interface, Upstream: "remote"}},
		LocalUpstream:  "isp",
		RemoteUpstream: "remote",
	}
}

func TestADisabledDNSSectionLeavesTheDefaults(t *testing.T) {
	cfg, err := parse("config dns 'dns'\n\toption enabled 0\n\toption mode realip\n\toption remote_upstream nobody", true)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Policy.Mode != policy.FakeIP || cfg.Policy.RemoteUpstream != "" {
		t.Errorf("mode is %v and the remote upstream %q, want fakeip and none", cfg.Policy.Mode, cfg.Policy.RemoteUpstream)
	}
}

func TestADotIsNoLocalDomain(t *testing.T) {
	cfg, err := parse("config dns\n\toption local_domain .", true)
	if err != nil || cfg.DNS.LocalDomain != "" {
		t.Errorf("the local domain is %q, %v, want none", cfg.DNS.LocalDomain, err)
	}
}

func TestServersAreReadInEveryForm(t *testing.T) {
	tests := []struct{ text, scheme, host, addr, path string }{
		{"192.0.2.1", "udp", "", "192.0.2.1:53", ""},
		{"192.0.2.1:54", "udp", "", "192.0.2.1:54", ""},
		{"2001:db8::1", "udp", "", "[2001:db8::1]:53", ""},
		{"[2001:db8::1]", "udp", "", "[2001:db8::1]:53", ""},
		{"udp://[2001:db8::1]:54", "udp", "", "[2001:db8::1]:54", ""},
		{"::ffff:192.0.2.1", "udp", "", "192.0.2.1:53", ""},
		{"[::ffff:192.0.2.1]:54", "udp", "", "192.0.2.1:54", ""},
		{"tcp://192.0.2.1", "tcp", "", "192.0.2.1:53", ""},
		{"TLS://[2001:db8::1]", "tls", "2001:db8::1", "[2001:db8::1]:853", ""},
		{"tls://192.0.2.1", "tls", "192.0.2.1", "192.0.2.1:853", ""},
		{"tls://One.example.:854", "tls", "one.example", "invalid AddrPort", ""},
		{"https://192.0.2.1/", "https", "192.0.2.1", "192.0.2.1:443", "/dns-query"},
		{"https://one.example", "https", "one.example", "invalid AddrPort", "/dns-query"},
		{"https://one.example/a/b", "https", "one.example", "invalid AddrPort", "/a/b"},
		{"https://[2001:db8::1]/a%2Fb?c=d", "https", "2001:db8::1", "[2001:db8::1]:443", "/a%2Fb?c=d"},
	}
	for _, tt := range tests {
		s, err := parseServer(tt.text)
		if err != nil || s.Scheme != tt.scheme || s.Host != tt.host || s.Addr.String() != tt.addr || s.Path != tt.path {
			t.Errorf("parseServer(%q) = %+v, %v, want %+v", tt.text, s, err, tt)
		}
	}
	if s, _ := parseServer("tls://one.example:854"); s.Addr.Port() != 854 {
		t.Errorf("the port of a server by name is %d, want 854", s.Addr.Port())
	}
}

func TestLoadReadsTheFileAndItsRuleSets(t *testing.T) {
	dir := t.TempDir()
	list, file := filepath.Join(dir, "list"), filepath.Join(dir, "fairlead")
	for path, text := range map[string]string{
		list: "example.cn\n",
		file: "config ruleset a\n\toption path " + list + "\nconfig rule\n\tlist ruleset a\n\toption outbound direct\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Load(file, true)
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Policy.Rules[0].Sets[0].MatchName("www.example.cn") {
		t.Error("the rule set does not match www.example.cn, which its file holds")
	}
}

func TestAFileThatIsNotThereIsNoMistake(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "gone"), true)
	var mistakes Mistakes
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &mistakes) {
		t.Errorf("Load gave %v, want that the file does not exist", err)
	}
}

func TestAFileBeyondTheBoundIsRefused(t *testing.T) {
	_, err := parse(strings.Repeat("#", maxFile+1), true)
	if want := "reading the configuration: f has more than 4194304 bytes"; err == nil || err.Error() != want {
		t.Errorf("Parse gave %v, want %s", err, want)
	}
}
