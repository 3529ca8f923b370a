package config

import (
	"fmt"
	"net/netip"

	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/gateway/policy"
)

// server reads what section dns says of the DNS server.
func (s *section) server(ipv6 bool) dnsrouter.Config {
	return dnsrouter.Config{
		Fake4:            one(s, "fakeip_range", parseFake4),
		Fake6:            one(s, "fakeip6_range", parseFake6),
		FakeTTL:          uint32(s.number("fakeip_ttl")),
		RejectAnswer:     rejectAnswer(s.choice("reject_answer")),
		CacheBytes:       s.number("cache_bytes"),
		ServeStale:       s.seconds("serve_stale"),
		RebindProtection: s.flag("rebind_protection"),
		RebindDomains:    every(s, "rebind_domain", policy.ParsePattern),
		LocalDomain:      one(s, "local_domain", parseDomain),
		Canaries:         s.flag("canaries"),
		IPv6:             ipv6,
	}
}

// mode reads the option mode of section dns or of a client.
func (s *section) mode() policy.Mode {
	return one(s, "mode", chosen(s.entry("mode"), policy.ParseMode))
}

func rejectAnswer(s string) dnsrouter.RejectAnswer {
	switch s {
	case "nodata":
		return dnsrouter.NoData
	case "zero":
		return dnsrouter.Zero
	}
	return dnsrouter.NXDomain
}

// parseFake4 reads the range of fake IPv4 addresses: large enough to be of use,
// small enough for the tables that it sizes.
func parseFake4(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, err
	case !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 28:
		return netip.Prefix{}, fmt.Errorf("%q is no IPv4 prefix of /8 to /28", s)
	}
	return unused(p, "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
		"172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3")
}

// parseFake6 reads the range of fake IPv6 addresses. Unique local addresses
// (RFC 4193) are allowed: a LAN's own are drawn at random.
func parseFake6(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, err
	case !p.Addr().Is6() || p.Bits() < 32 || p.Bits() > 120:
		return netip.Prefix{}, fmt.Errorf("%q is no IPv6 prefix of /32 to /120", s)
	}
	return unused(p, "::/8", "64:ff9b::/16", "fe80::/10", "ff00::/8")
}

// unused checks that no fake address can be one of those that homes, providers
// or the kernel use themselves: the IANA registries of special-purpose addresses.
func unused(p netip.Prefix, taken ...string) (netip.Prefix, error) {
	for _, t := range taken {
		if p.Overlaps(netip.MustParsePrefix(t)) {
			return netip.Prefix{}, fmt.Errorf("%s overlaps %s, which has a use of its own", p, t)
		}
	}
	return p, nil
}
