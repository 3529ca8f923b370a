package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
)

// Blocks is which encrypted DNS of a client's own is refused.
type Blocks struct {
	DoT bool // block_dot: TLS and QUIC at port 853
	DoH bool // block_doh: HTTPS to known resolvers
}

// dohRule is what explain and logs call the rule for the names of known DoH servers.
const dohRule = "block_doh"

// dohServers are resolvers that anybody may ask over HTTPS, by the names that
// browsers and devices know them by, and by the addresses that serve nothing
// else. The date is their version; changing them changes it.
const dohServers = `# 2026-11-22
# Cloudflare
cloudflare-dns.com
cloudflare-gateway.com
one.one.one.one
1.1.1.0/30
1.0.0.0/30
2606:4700:4700::/112
# Google
dns.google
dns64.dns.google
dns.google.com
8.8.8.8
8.8.4.4
2001:4860:4860::8844
2001:4860:4860::8888
# Quad9
quad9.net
9.9.9.8/29
149.112.112.8/29
149.112.112.112
2620:fe::8/125
2620:fe::10/127
2620:fe::fe
2620:fe::fe:0/120
# Cisco OpenDNS
doh.opendns.com
doh.familyshield.opendns.com
dns.umbrella.com
208.67.220.220
208.67.222.222
# AdGuard
adguard-dns.com
dns.adguard.com
dns-family.adguard.com
dns-unfiltered.adguard.com
94.140.14.0/23
# NextDNS, ControlD, CleanBrowsing, Mullvad
dns.nextdns.io
45.90.28.0/24
45.90.30.0/24
dns.controld.com
freedns.controld.com
76.76.2.0/24
76.76.10.0/24
doh.cleanbrowsing.org
185.228.168.0/24
185.228.169.0/24
dns.mullvad.net
194.242.2.0/28
# Alibaba, Tencent, 360, Quad101, IIJ
dns.alidns.com
223.5.5.5
223.6.6.6
2400:3200::1
2400:3200:baba::1
doh.pub
dns.pub
1.12.12.12
120.53.53.53
doh.360.cn
dns.twnic.tw
101.101.101.101
public.dns.iij.jp
# Others
doh.dns.apple.com
doh.xfinity.com
doh.cox.net
doh.sb
doh.dns.sb
doh.libredns.gr
doh.applied-privacy.net
doh.ffmuc.net
doh.tiar.app
dns.switch.ch
dns.njal.la
dns.digitale-gesellschaft.ch
dnsforge.de
joindns4.eu
wikimedia-dns.org
`

// known gives the names and the addresses of the list.
func known(list string) (names []policy.Pattern, addrs []netip.Prefix) {
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if prefix, err := parsePrefix(line); err == nil {
			addrs = append(addrs, prefix)
		} else if name, err := policy.ParsePattern(line); err == nil {
			names = append(names, name)
		}
	}
	return names, addrs
}

// blocks reads what is refused of a client, and otherwise of everyone.
func (s *section) blocks(otherwise Blocks) Blocks {
	if s.has("block_dot") {
		otherwise.DoT = s.flag("block_dot")
	}
	if s.has("block_doh") {
		otherwise.DoH = s.flag("block_doh")
	}
	return otherwise
}

// withDoHBlocked has the names of known DoH servers rejected, before all other
// rules, for those clients who may not ask them.
func withDoHBlocked(cfg *Config) {
	blocked := func(b Blocks) bool { return b.DoH }
	if !slices.ContainsFunc(cfg.Blocks, blocked) {
		return
	}
	names, addrs := known(dohServers)
	rule := policy.Rule{Name: dohRule, Domains: names, Outbound: "reject"}
	if allowed := func(b Blocks) bool { return !b.DoH }; slices.ContainsFunc(cfg.Blocks, allowed) {
		for client, b := range cfg.Blocks {
			if b.DoH {
				rule.Clients = append(rule.Clients, cfg.clientName(client))
			}
		}
	}
	cfg.Policy.Rules = append([]policy.Rule{rule}, cfg.Policy.Rules...)
	cfg.DoHServers = addrs
}

// clientName is what rules call a policy.Client.
func (c *Config) clientName(client int) string {
	if client == 0 {
		return "default"
	}
	return c.Policy.Clients[client-1].Name
}
