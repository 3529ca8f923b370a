package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

// files opens from a map, as the file system would.
func files(m map[string]string) Opener {
	return func(path string) (io.ReadCloser, error) {
		text, ok := m[path]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
}

// lists is what the rule sets of the tests say.
func lists() map[string]string {
	return map[string]string{
		"/etc/names.txt":                      "example.cn\n",
		"/etc/addrs.txt":                      "203.0.113.0/24\n",
		"/etc/bad.txt":                        "example.cn\n\nnot a name\n",
		"/var/run/fairlead/ruleset-fetched":   "203.0.113.0/24\n",
		"/mnt/cache/ruleset-fetched_too":      "example.cn\n",
		"/var/run/fairlead/ruleset-bad_fetch": "<html>\n",
	}
}

func parse(text string, strict bool) (*Config, error) {
	return Parse("f", strings.NewReader(text), files(lists()), strict)
}

// node is the beginning of configurations that need an outbound: 9 lines.
const node = `config dns 'dns'
	option remote_upstream 'remote'
config upstream 'remote'
	list server '192.0.2.53'
	option outbound 'node'
config outbound 'node'
	option type 'socks5'
	option server '203.0.113.80'
	option port '1080'
`

// patternError and setError are what policy says, in its own words.
func patternError(s string) string {
	_, err := policy.ParsePattern(s)
	return err.Error()
}

func setError(text string) string {
	_, err := policy.ParseSet(strings.NewReader(text))
	return err.Error()
}

func interfaces(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "config outbound o%d\n\toption type interface\n\toption device wg%d\n", i, i)
	}
	return b.String()
}

func TestMistakes(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"what is not UCI is reported with all the rest", "config fairlead 'main'\n\toption ipv6 'maybe'\n\toption 'x\n\toption sniff 2\nfoo", `
f:2: main: ipv6: "maybe" is no boolean: write 1 or 0, yes or no, on or off, true or false
f:3: main: the quote ' is not closed
f:4: main: sniff: "2" is no boolean: write 1 or 0, yes or no, on or off, true or false
f:5: main: "foo" is no statement; there are package, config, option and list`},
		{"an unknown type of section", "config rul\n\toption outbound x", `
f:1: @rul[0]: there is no type of section "rul"; did you mean "rule"?`},
		{"an unknown option", "config dns 'dns'\n\toption fakeip_rang '198.18.0.0/15'\n\toption colour red", `
f:2: dns: fakeip_rang: there is no such option in a section of type dns; did you mean "fakeip_range"?
f:3: dns: colour: there is no such option in a section of type dns`},
		{"two sections of which there is one", "config fairlead 'main'\nconfig dns\nconfig fairlead\nconfig dns 'dns'", `
f:3: @fairlead[1]: there is a section of type fairlead already, on line 1
f:4: dns: there is a section of type dns already, on line 2`},
		{"a list of what is single", "config dns 'dns'\n\tlist mode fakeip\n\tlist mode realip", `
f:3: dns: mode: it takes one value, not 2`},
		{"sections that need a name", "config upstream\n\tlist server 192.0.2.53\nconfig ruleset\n\toption path /etc/names.txt\nconfig outbound\n\toption type interface\n\toption device wg0", `
f:1: @upstream[0]: it needs a name to be used by: config upstream 'NAME'
f:3: @ruleset[0]: it needs a name to be used by: config ruleset 'NAME'
f:5: @outbound[0]: it needs a name to be used by: config outbound 'NAME'`},
		{"names that exist without being declared", "config upstream 'auto'\n\tlist server 192.0.2.53\nconfig outbound 'direct'\n\toption type interface\n\toption device wg0\nconfig client 'default'\n\tlist ip 192.0.2.1\nconfig rule\n\toption name default\n\toption outbound direct\nconfig rule\n\toption name essentials\n\toption outbound direct", `
f:1: auto: upstream "auto" exists without being declared, and cannot be declared
f:3: direct: outbound "direct" exists without being declared, and cannot be declared
f:6: default: clients that no section matches are called default; this one needs another name
f:8: @rule[0]: what no rule matches is called default; this rule needs another name
f:11: @rule[1]: the rule for essential names is called essentials; this rule needs another name`},
		{"values of section main", "config fairlead 'main'\n\toption on_failure shut\n\toption log_level inf\n\toption state_dir run\n\toption control /" + strings.Repeat("x", 107) + "\n\toption dnsmasq 1\n\tlist network 'lan wan'\n\tlist network br-lan\n\tlist device 'a/b'\n\tlist device sixteencharacter", `
f:2: main: on_failure: "shut" is none of open and closed
f:3: main: log_level: "inf" is none of debug, info, warn and error; did you mean "info"?
f:4: main: state_dir: "run" does not begin with a slash
f:5: main: control: "/` + strings.Repeat("x", 107) + `" is longer than the 107 bytes of a socket's path
f:6: main: dnsmasq: "1" is none of keep and replace
f:7: main: network: "lan wan" is no name of an OpenWrt network; they are letters, digits and underscores
f:8: main: network: "br-lan" is no name of an OpenWrt network; they are letters, digits and underscores
f:9: main: device: "a/b" is no name of an interface
f:10: main: device: "sixteencharacter" is no name of an interface`},
		{"values of section dns", "config dns\n\toption mode off\n\toption fakeip_ttl 0\n\toption cache_bytes 65535\n\toption serve_stale 1d\n\toption reject_answer refused\n\tlist realip '*'\n\tlist rebind_domain 'a b'\n\toption local_domain 'my_lan.-'", `
f:2: @dns[0]: mode: "off" is none of fakeip and realip
f:3: @dns[0]: fakeip_ttl: 0 is out of range: write 1 to 3600
f:4: @dns[0]: cache_bytes: 65535 is out of range: write 65536 to 1073741824
f:5: @dns[0]: serve_stale: "1d" is no whole number
f:6: @dns[0]: reject_answer: "refused" is none of nxdomain, nodata and zero
f:7: @dns[0]: realip: ` + patternError("*") + `
f:8: @dns[0]: rebind_domain: ` + patternError("a b") + `
f:9: @dns[0]: local_domain: "my_lan.-" is no host name`},
		{"a number beyond all bounds", "config dns\n\toption cache_bytes 99999999999999999999", `
f:2: @dns[0]: cache_bytes: 99999999999999999999 is out of range: write 65536 to 1073741824`},
		{"fakeip ranges that are none", "config dns\n\toption fakeip_range 198.18.0.0\n\toption fakeip6_range 2001:2::/16", `
f:2: @dns[0]: fakeip_range: "198.18.0.0" is no IPv4 prefix of /8 to /28
f:3: @dns[0]: fakeip6_range: "2001:2::/16" has bits set behind its length; the prefix is 2001::/16`},
		{"fakeip ranges of the other family", "config dns\n\toption fakeip_range 2001:2::/64\n\toption fakeip6_range 198.18.0.0/15", `
f:2: @dns[0]: fakeip_range: "2001:2::/64" is no IPv4 prefix of /8 to /28
f:3: @dns[0]: fakeip6_range: "198.18.0.0/15" is no IPv6 prefix of /32 to /120`},
		{"fakeip ranges in space that is used", "config dns\n\toption fakeip_range 192.168.0.0/24\n\toption fakeip6_range fe80::/64", `
f:2: @dns[0]: fakeip_range: 192.168.0.0/24 overlaps 192.168.0.0/16, which has a use of its own
f:3: @dns[0]: fakeip6_range: fe80::/64 overlaps fe80::/10, which has a use of its own`},
		{"upstream servers", "config upstream u\n\tlist server quic://192.0.2.1\n\tlist server h3://dns.example\n\tlist server udq://192.0.2.1\n\tlist server 192.0.2.1:0\n\tlist server 192.0.2.256\n\tlist server tls://192.0.2.1/x\n\tlist server '[2001:db8::1'\n\tlist server 'https://192.0.2.1/{?dns}'\n\tlist server fe80::1%wan\n\tlist server https://192.0.2.1/%zz", `
f:2: u: server: this build has no QUIC, so no servers of scheme quic
f:3: u: server: this build has no QUIC, so no servers of scheme h3
f:4: u: server: there is no scheme "udq"; did you mean "udp"?
f:5: u: server: reading the port of "192.0.2.1:0": 0 is out of range: write 1 to 65535
f:6: u: server: "192.0.2.256" is neither an address nor a name
f:7: u: server: "tls://192.0.2.1/x" has a path, which only https has
f:8: u: server: "[2001:db8::1" is neither an address nor a name
f:9: u: server: the path is taken as it is: it cannot hold a template, a fragment or spaces
f:10: u: server: "fe80::1%wan" has a zone, which has no meaning here
f:11: u: server: the path holds what no URL can: invalid URL escape "%zz"`},
		{"an upstream without servers, and one that could not be reached", "config upstream u\nconfig upstream v\n\tlist server tls://dns.example\n\toption outbound reject", `
f:1: u: server: it is needed here
f:3: v: server: "dns.example" is a name: it needs list bootstrap, the servers that resolve it
f:4: v: outbound: outbound reject would refuse every question`},
		{"bootstrap by name", "config upstream u\n\tlist server dns.example\n\tlist bootstrap dns.example", `
f:3: u: bootstrap: "dns.example" is no address`},
		{"outbounds of types there are not", "config outbound a\n\toption type http\nconfig outbound b\n\toption type latency\nconfig outbound c\n\toption type sock5\nconfig outbound d", `
f:2: a: type: this version does not have outbounds of type http yet
f:4: b: type: this version does not have outbounds of type latency yet
f:6: c: type: "sock5" is none of interface and socks5; did you mean "socks5"?
f:7: d: type: it is needed here`},
		{"outbounds without what they need", "config outbound a\n\toption type socks5\nconfig outbound b\n\toption type interface", `
f:1: a: server: it is needed here
f:1: a: port: it is needed here
f:3: b: device: it is needed here`},
		{"values of outbounds", "config outbound a\n\toption type socks5\n\toption server -x-\n\toption port 65536\n\toption username u\nconfig outbound b\n\toption type interface\n\toption device wg0\n\toption gateway here\nconfig outbound c\n\toption type socks5\n\toption server 192.0.2.1\n\toption port 1\n\toption username " + strings.Repeat("u", 256) + "\n\toption password p", `
f:3: a: server: "-x-" is neither an address nor a name
f:4: a: port: 65536 is out of range: write 1 to 65535
f:5: a: username: it needs option password beside it
f:9: b: gateway: "here" is no address
f:14: c: username: it is longer than 255 bytes`},
		{"a node by name that nothing resolves", "config outbound a\n\toption type socks5\n\toption server node.example\n\toption port 1080\nconfig dns\n\toption local_upstream isp\nconfig upstream isp\n\tlist server tls://192.0.2.53", `
f:3: a: server: "node.example" is a name: it needs list bootstrap, or a dns.local_upstream with a server given by address over udp`},
		{"more interfaces than there are marks", interfaces(14), `
f:41: o13: type: there cannot be more than 13 outbounds of type interface`},
		{"more interfaces than there are marks beside the router's own", interfaces(13) + "config fairlead main\n\toption router 1\n", `
f:38: o12: type: there cannot be more than 12 outbounds of type interface with option router '1'`},
		{"a switch that is neither on nor off", "config client tv\n\toption enabled maybe\n\tlist ip 192.0.2.1\nconfig rule\n\tlist client tv\n\toption outbound direct", `
f:2: tv: enabled: "maybe" is no boolean: write 1 or 0, yes or no, on or off, true or false`},
		{"a client that is nobody", "config client\n\toption mode off", `
f:1: @client[0]: it matches no client: it needs a list of mac, ip, hostname, network or device`},
		{"values of clients", "config client\n\tlist mac aa:bb\n\tlist ip 192.0.2.1/24\n\tlist ip 2001:db8::g\n\tlist ip 10.0.0.0/33\n\tlist hostname 'my tv'\n\toption mode on", `
f:2: @client[0]: mac: "aa:bb" is no Ethernet address such as aa:bb:cc:dd:ee:ff
f:3: @client[0]: ip: "192.0.2.1/24" has bits set behind its length; the prefix is 192.0.2.0/24
f:4: @client[0]: ip: "2001:db8::g" is neither an address nor a prefix
f:5: @client[0]: ip: "10.0.0.0/33" is no prefix
f:6: @client[0]: hostname: "my tv" is no host name
f:7: @client[0]: mode: "on" is none of fakeip, realip and off`},
		{"rule sets that are nowhere, in two places, or elsewhere", "config ruleset a\nconfig ruleset b\n\toption path /etc/names.txt\n\toption url https://x.example/y\nconfig ruleset c\n\toption url ftp://x.example\n\toption interval 59", `
f:1: a: it needs option path or option url
f:4: b: url: it is either fetched or read from a path, not both
f:6: c: url: "ftp://x.example" is no http or https URL
f:7: c: interval: 59 is out of range: write 60 to 31536000`},
		{"rule sets that cannot be read", "config ruleset gone\n\toption path /etc/gone.txt\nconfig ruleset bad\n\toption path /etc/bad.txt\nconfig ruleset bad_fetch\n\toption url https://x.example/y\nconfig rule\n\tlist ruleset gone\n\tlist ruleset bad\n\tlist ruleset bad_fetch\n\toption outbound direct", `
f:2: gone: path: opening ruleset gone: open /etc/gone.txt: file does not exist
f:4: bad: path: opening ruleset bad: ` + setError(lists()["/etc/bad.txt"]) + `
f:6: bad_fetch: url: opening ruleset bad_fetch: ` + setError("<html>\n")},
		{"a rule without an outbound, and values of rules", "config rule\n\tlist domain ''\n\tlist ip x\n\tlist port 0\n\tlist proto icmp\n\tlist protocol tlss", `
f:1: @rule[0]: outbound: it is needed here
f:2: @rule[0]: domain: ` + patternError("") + `
f:3: @rule[0]: ip: "x" is neither an address nor a prefix
f:4: @rule[0]: port: "0" is no port from 1 to 65535 and no range of them such as 8000-9000
f:5: @rule[0]: proto: "icmp" is none of tcp and udp
f:6: @rule[0]: protocol: "tlss" is none of tls, http, quic, ssh, bittorrent, stun and dns; did you mean "tls"?`},
		{"references to what is not there", node + "config client tv\n\tlist ip 192.0.2.1\n\toption outbound nod\nconfig rule\n\tlist client tw\n\tlist ruleset domestic\n\toption outbound rejekt\nconfig fairlead\n\toption default elsewhere", `
f:12: tv: outbound: no outbound "nod" is declared; did you mean "node"?
f:14: @rule[0]: client: no client "tw" is declared; did you mean "tv"?
f:15: @rule[0]: ruleset: no ruleset "domestic" is declared
f:16: @rule[0]: outbound: no outbound "rejekt" is declared; did you mean "reject"?
f:18: @fairlead[0]: default: no outbound "elsewhere" is declared`},
		{"references of dns, upstreams and outbounds", "config dns\n\toption local_upstream aut\n\toption remote_upstream remote\nconfig upstream u\n\tlist server 192.0.2.1\n\toption outbound x\nconfig outbound o\n\toption type interface\n\toption device wg0\n\toption upstream v\n\tlist member p", `
f:2: @dns[0]: local_upstream: no upstream "aut" is declared; did you mean "auto"?
f:3: @dns[0]: remote_upstream: no upstream "remote" is declared
f:6: u: outbound: no outbound "x" is declared
f:10: o: upstream: no upstream "v" is declared
f:11: o: member: no outbound "p" is declared`},
		{"a reference to what is disabled", node + "\toption enabled off\nconfig rule\n\toption outbound node", `
f:5: remote: outbound: outbound "node" is disabled, on line 10
f:12: @rule[0]: outbound: outbound "node" is disabled, on line 10`},
		{"a name that leaves by a way without an upstream", "config fairlead\nconfig outbound wan2\n\toption type interface\n\toption device eth2\nconfig rule\n\tlist domain x.example\n\toption outbound wan2", `
f:7: @rule[0]: outbound: names that leave by "wan2" need dns.remote_upstream, or option upstream of that outbound`},
		{"addresses without an upstream to ask", "config rule\n\tlist ip 192.0.2.1\n\toption outbound direct\n\toption resolve 1", `
f:4: @rule[0]: resolve: addresses are asked of dns.remote_upstream, which is missing`},
		{"names that may be refused or leave directly", "config rule mail\n\tlist port 25\n\toption outbound reject", `
f:1: mail: names stay open until the port of a flow is known, and such names need dns.remote_upstream`},
		{"an upstream behind a node that it resolves", "config dns\n\toption local_upstream u\nconfig upstream u\n\tlist server 192.0.2.1\n\toption outbound n\nconfig outbound n\n\toption type socks5\n\toption server node.example\n\toption port 1\n\toption upstream u", `
f:5: u: outbound: these need each other in a circle: upstream u -> outbound n -> upstream u`},
		{"groups in a circle", "config outbound a\n\toption type fallback\n\tlist member direct\n\tlist member b\nconfig outbound b\n\toption type fallback\n\tlist member a\nconfig outbound c\n\toption type fallback\n\tlist member c", `
f:2: a: type: this version does not have outbounds of type fallback yet
f:4: a: member: these need each other in a circle: outbound a -> outbound b -> outbound a
f:6: b: type: this version does not have outbounds of type fallback yet
f:9: c: type: this version does not have outbounds of type fallback yet
f:10: c: member: these need each other in a circle: outbound c -> outbound c`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := parse(tt.text, true)
			var mistakes Mistakes
			if !errors.As(err, &mistakes) {
				t.Fatalf("Parse gave the error %v, want Mistakes", err)
			}
			if got, want := mistakes.Error(), strings.TrimPrefix(tt.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if cfg == nil || cfg.Policy.Default != "" {
				t.Errorf("the Config beside mistakes is %+v, want File and Warnings only", cfg)
			}
		})
	}
}
