package config

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/openwrt/uci"
)

// essentialsRule is what explain and logs call the rule for essential names.
const essentialsRule = "essentials"

// essentialNames are names by which devices find out whether they are online,
// what time it is, and how to telephone: through a node they would be told of
// the node's network, or of none at all. The date is their version; changing
// the names changes it.
const essentialNames = onlineNames + timeNames + phoneNames

const onlineNames = `# 2026-11-22
# Is there an Internet, and a login page before it?
msftconnecttest.com
msftncsi.com
captive.apple.com
captive.g.aaplimg.com
netcts.cdn-apple.com
connectivitycheck.android.com
connectivitycheck.gstatic.com
connectivitycheck.platform.hicloud.com
connect.rom.miui.com
wifi.vivo.com.cn
detectportal.firefox.com
fireoscaptiveportal.com
nmcheck.gnome.org
networkcheck.kde.org
connectivity-check.ubuntu.com
conncheck.opensuse.org
network-test.debian.org
ping.archlinux.org
captive.roku.com
ctest.cdn.nintendo.net
conntest.nintendowifi.net
`

const timeNames = `# What time is it?
pool.ntp.org
ntp.org.cn
ntp.aliyun.com
ntp.ntsc.ac.cn
ntp.tencent.com
ntp.ubuntu.com
time.android.com
time.apple.com
time.cloudflare.com
time.google.com
time.nist.gov
time.windows.com
time-ios.apple.com
time-macos.apple.com
`

const phoneNames = `# Calls over Wi-Fi: the gateways of mobile operators (3GPP TS 23.003).
3gppnetwork.org
`

// essentials are the essential names: those above and the router's own time
// servers, unless option essentials leaves them out, and those of list essential.
func (b *builder) essentials(clock []policy.Pattern) []policy.Pattern {
	dns := b.single("dns", "dns")
	var all []policy.Pattern
	if dns.flag("essentials") {
		all = slices.Concat(listed(onlineNames+phoneNames), clock)
	}
	return append(all, every(dns, "essential", policy.ParsePattern)...)
}

// listed are the names of a list above.
func listed(names string) (all []policy.Pattern) {
	for line := range strings.Lines(names) {
		if p, err := policy.ParsePattern(strings.TrimSpace(line)); err == nil && line[0] != '#' {
			all = append(all, p)
		}
	}
	return all
}

// timeServers are the names by which clocks are set: those above, and those that
// OpenWrt's configuration, which lies beside ours, has for the router's own.
func (b *builder) timeServers() []policy.Pattern {
	all := listed(timeNames)
	f, err := b.open(filepath.Join(filepath.Dir(b.file), "system"))
	if err != nil {
		return all // not OpenWrt
	}
	defer f.Close()
	text, err := read(b.file, f)
	if err != nil {
		return all
	}
	system, _ := uci.Parse(text) // its mistakes are others' affair
	for _, s := range system.Sections {
		for _, o := range s.Options {
			if s.Type == "timeserver" && o.Name == "server" {
				all = appendNames(all, o.Values)
			}
		}
	}
	return all
}

// appendNames adds what is a name, not an address.
func appendNames(all []policy.Pattern, values []uci.Value) []policy.Pattern {
	for _, v := range values {
		if _, err := netip.ParseAddr(v.Text); err == nil {
			continue
		}
		if p, err := policy.ParsePattern("full:" + v.Text); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// withEssentials has names leave directly that no rule of the user's decides,
// and be answered with real addresses whatever does.
func withEssentials(c policy.Config, names []policy.Pattern) policy.Config {
	if len(names) == 0 {
		return c
	}
	c.Rules = append(c.Rules, policy.Rule{Name: essentialsRule, Domains: names, Outbound: "direct"})
	c.RealIP = append(c.RealIP, names...)
	return c
}
