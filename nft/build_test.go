package nft

import (
	"net/netip"
	"strings"
	"testing"
)

func TestEverythingWrongWithAConfigIsSaidAtOnce(t *testing.T) {
	c := house()
	c.Fake4, c.Fake6 = netip.Prefix{}, netip.MustParsePrefix("198.18.0.0/15")
	c.LAN = []string{"a-name-that-is-too-long", "br*"}
	c.Groups = nil
	c.Home = []netip.Prefix{{}}
	c.Members = []Members{{Group: 1}}
	_, err := Build(c)
	for _, want := range []string{
		"no IPv4 prefix", "no IPv6 prefix", "a-name-that-is-too-long", "br*",
		"no group for clients", "is no prefix", "members 0 belong to group 1 of 0",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Build = %v, want it to say %q", err, want)
		}
	}
}

func TestTheFingerprintIsThatOfTheText(t *testing.T) {
	seen := map[string]string{}
	for name, c := range configs() {
		print := build(t, c).Fingerprint()
		if again := build(t, c).Fingerprint(); again != print {
			t.Errorf("%s has the fingerprints %s and %s, want one", name, print, again)
		}
		if other, ok := seen[print]; ok {
			t.Errorf("%s and %s have the same fingerprint %s", name, other, print)
		}
		seen[print] = name
	}
}

func TestPrefixesThatOverlapOrTouchAreMerged(t *testing.T) {
	got := texts(prefixElements(v4(), prefixes("10.0.0.0/9", "10.128.0.0/9", "10.1.2.0/24", "192.0.2.1/32", "fe80::/10")))
	if want := "10.0.0.0/8, 192.0.2.1"; got != want {
		t.Errorf("prefixElements = %q, want %q", got, want)
	}
}

func TestAnIntervalUpToTheLastAddressHasNoEnd(t *testing.T) {
	for _, s := range []string{"0.0.0.0/0", "255.255.255.255/32", "ff00::/8"} {
		p := netip.MustParsePrefix(s)
		if e := prefixElement(p); len(e.end) != 0 {
			t.Errorf("%s ends before % x, want no end", s, e.end)
		}
	}
}
