package policy_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fairlead/fairlead/gateway/policy"
)

func parseSet(t testing.TB, text string) *policy.Set {
	t.Helper()
	set, err := policy.ParseSet(strings.NewReader(text))
	if err != nil {
		t.Fatalf("ParseSet(%q): %v", text, err)
	}
	return set
}

func TestSetsAreReadInTheFormatsOfOthers(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		text     string
		in, out  []string // names and addresses
	}{
		{"plain names have their subdomains", "example.cn\n", []string{"example.cn", "a.example.cn"}, []string{"notexample.cn", "cn"}},
		{"patterns are those of rules", "full:a.cn\nkeyword:ads\nregexp:^x[0-9]{1,2}\\.", []string{"a.cn", "loads.example", "x12.example"}, []string{"b.a.cn", "x123.example"}},
		{"addresses and prefixes stand beside names", "example.cn\n192.0.2.1\n2001:db8::/32\n198.51.100.0/24", []string{"example.cn", "192.0.2.1", "2001:db8:1::1", "198.51.100.255"}, []string{"192.0.2.2", "198.51.101.0", "2001:db9::"}},
		{"comments and empty lines are skipped", "# a\n! b\n\n  \t\n[Adblock Plus 2.0]\nexample.cn # c\n\t192.0.2.1\t# d", []string{"example.cn", "192.0.2.1"}, []string{"a", "b", "c", "d"}},
		{"lines may end as on Windows, behind a byte order mark", "\ufeffexample.cn\r\nexample.net\r\n", []string{"example.cn", "example.net"}, nil},
		{"dnsmasq's servers", "server=/example.cn/192.0.2.53\nserver=/a.net/b.net/192.0.2.53#5353", []string{"www.example.cn", "a.net", "b.net"}, []string{"192.0.2.53"}},
		{"dnsmasq's other options", "address=/a.cn/\nlocal=/b.cn/\nipset=/c.cn/set\nnftset=/d.cn/4#inet#t#s", []string{"a.cn", "b.cn", "c.cn", "www.d.cn"}, []string{"set"}},
		{"names of hosts files stand for themselves", "0.0.0.0 ads.example\n127.0.0.1\tlocalhost  tracker.example # c\n::1 ip6-localhost\n0.0.0.0 0.0.0.0", []string{"ads.example", "tracker.example", "localhost"}, []string{"www.ads.example", "0.0.0.0", "127.0.0.1", "c"}},
		{"adblock's domains", "||ads.example^\n||t.example^", []string{"ads.example", "x.ads.example", "t.example"}, []string{"example"}},
		{"Clash's rules", "DOMAIN,a.cn\nDOMAIN-SUFFIX,b.cn\nDOMAIN-KEYWORD,ads\nDOMAIN-REGEX,^x{1,2}y\nIP-CIDR,192.0.2.0/24,no-resolve\nIP-CIDR6,2001:db8::/32", []string{"a.cn", "x.b.cn", "loads.example", "xxy.example", "192.0.2.9", "2001:db8::1"}, []string{"x.a.cn", "xxxz.example"}},
		{"Clash's payload in YAML", "payload:\n  - '+.a.cn'\n  - \"b.cn\"\n  - DOMAIN-SUFFIX,c.cn\n  - '  '\n  - '192.0.2.0/24'", []string{"a.cn", "x.a.cn", "b.cn", "c.cn", "192.0.2.1"}, []string{"payload"}},
		{"host bits of a prefix are dropped", "192.0.2.77/24", []string{"192.0.2.1"}, []string{"192.0.3.1"}},
		{"mapped prefixes are IPv4", "::ffff:192.0.2.0/120", []string{"192.0.2.1", "::ffff:192.0.2.1"}, []string{"192.0.3.1"}},
		{"zones are not looked at", "fe80::/10", []string{"fe80::1%eth0"}, nil},
		{"everything has two prefixes", "0.0.0.0/0\n::/0", []string{"0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, nil},
		{"a line of 4096 bytes is read", "example.cn" + strings.Repeat(" ", 4086) + "\r\nexample.net", []string{"example.cn", "example.net"}, nil},
		{"an empty text is an empty set", "", nil, []string{"example.cn", "192.0.2.1"}},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			set := parseSet(t, tt.text)
			for _, entry := range append(slices.Clone(tt.in), tt.out...) {
				if got, want := contains(set, entry), slices.Contains(tt.in, entry); got != want {
					t.Errorf("the set has %q: %t, want %t", entry, got, want)
				}
			}
		})
	}
}

func contains(set *policy.Set, entry string) bool {
	if a, err := netip.ParseAddr(entry); err == nil {
		return set.MatchAddr(a)
	}
	return set.MatchName(entry)
}

func TestSetsAreRefusedByLine(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		text     string
		want     string
	}{
		{"a page of the web", "\n <!DOCTYPE html><html>", "line 2: this is an HTML page, not a rule set"},
		{"a binary format", "SRS\x01\x02\x03", "line 1: byte 0x01: this is not text"},
		{"a bad name", "a.cn\nb..cn\n", `line 2: "b..cn" has an empty label`},
		{"a bad prefix", "a.cn\n\n192.0.2.0/33", "line 3: netip.ParsePrefix"},
		{"two names on one line", "a.cn b.cn", `line 1: "a.cn b.cn": one entry a line is expected`},
		{"adblock's exceptions", "@@||a.cn^", "line 1: "},
		{"adblock's options", "||a.cn^$third-party", "of adblock's rules only ||name^ is read"},
		{"adblock's cosmetics", "a.cn##.banner", "cannot stand in a host name"},
		{"Clash's processes", "PROCESS-NAME,curl", "entries of this kind are not about names or addresses"},
		{"dnsmasq's wildcard", "server=/#/192.0.2.53", "'#' cannot stand in a host name"},
		{"dnsmasq's line without an end", "local=/example.cn", "the domain has no / behind it"},
		{"a line longer than 4096 bytes", "a.cn\n" + strings.Repeat("a", 4097), "line 2: is longer than 4096 bytes"},
		{"a line far longer", "a.cn\n" + strings.Repeat("a", 1<<16), "line 2: is longer than 4096 bytes"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			_, err := policy.ParseSet(strings.NewReader(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseSet(%.60q): %v, want an error with %q", tt.text, err, tt.want)
			}
		})
	}
}

func TestASetThatCannotBeReadSaysHowFarItCame(t *testing.T) {
	broken := errors.New("broken disk")
	_, err := policy.ParseSet(io.MultiReader(strings.NewReader("a.cn\nb.cn\n"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("ParseSet: %v, want %q behind line 2", err, broken)
	}
}

func TestASetCountsWhatIsLeftOfIt(t *testing.T) {
	set := parseSet(t, "a.cn\nwww.a.cn\nfull:x.a.cn\na.cn\nfull:b.cn\nkeyword:ads\nkeyword:ads\nregexp:^x\nregexp:^x\n192.0.2.0/25\n192.0.2.128/25\n192.0.2.7\n2001:db8::/64\n2001:db8:0:1::/64\n")
	if got, want := set.Names(), 4; got != want { // a.cn, full:b.cn, keyword:ads, regexp:^x
		t.Errorf("Names() = %d, want %d", got, want)
	}
	if got, want := fmt.Sprint(set.Prefixes()), "[192.0.2.0/24 2001:db8::/63]"; got != want {
		t.Errorf("Prefixes() = %s, want %s", got, want)
	}
	if !set.HasNames() || !set.HasAddrs() {
		t.Errorf("HasNames() = %t, HasAddrs() = %t, want both", set.HasNames(), set.HasAddrs())
	}
	if empty := parseSet(t, ""); empty.HasNames() || empty.HasAddrs() {
		t.Errorf("an empty set: HasNames() = %t, HasAddrs() = %t, want neither", empty.HasNames(), empty.HasAddrs())
	}
}

func TestSetsOfNamesAgreeWithListsOfPatterns(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 3000 {
		var list []policy.Pattern
		var text strings.Builder
		for range r.IntN(12) {
			entry := []string{"", "full:"}[r.IntN(2)] + randomName(r)
			list = append(list, patterns(t, entry)...)
			text.WriteString(entry + "\n")
		}
		set := parseSet(t, text.String())
		for range 20 {
			name := randomName(r)
			want := slices.ContainsFunc(list, func(p policy.Pattern) bool { return p.Match(name) })
			if got := set.MatchName(name); got != want {
				t.Fatalf("MatchName(%q) = %t, want %t, of the set\n%s", name, got, want, text.String())
			}
		}
	}
}

// randomName is of one to three labels out of few bytes, on both sides of the
// dot in ASCII, so that many are parents or look-alikes of each other.
func randomName(r *rand.Rand) string {
	labels := make([]string, 1+r.IntN(3))
	for i := range labels {
		for range 1 + r.IntN(2) {
			labels[i] += string("ab-_0"[r.IntN(5)])
		}
	}
	return strings.Join(labels, ".") + ".a" // never an address
}

func TestSetsOfAddressesAgreeWithListsOfPrefixes(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for range 2000 {
		var list []netip.Prefix
		var text strings.Builder
		for range r.IntN(8) {
			p := randomPrefix(r)
			list = append(list, p)
			text.WriteString(p.String() + "\n")
		}
		set := parseSet(t, text.String())
		within := func(list []netip.Prefix, a netip.Addr) bool {
			return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		ps := set.Prefixes()
		for range 40 {
			a := randomAddr(r)
			if got, want := set.MatchAddr(a), within(list, a); got != want {
				t.Fatalf("MatchAddr(%s) = %t, want %t, of the set\n%s", a, got, want, text.String())
			}
			if got, want := within(ps, a), within(list, a); got != want {
				t.Fatalf("%s is in Prefixes() %s: %t, want %t, of the set\n%s", a, ps, got, want, text.String())
			}
		}
		checkFewestPrefixes(t, ps)
	}
}

// checkFewestPrefixes fails if prefixes are out of order, overlap, or could be
// joined to one.
func checkFewestPrefixes(t *testing.T, ps []netip.Prefix) {
	t.Helper()
	for i := 1; i < len(ps); i++ {
		a, b := ps[i-1], ps[i]
		if a.Addr().Compare(b.Addr()) >= 0 || a.Overlaps(b) {
			t.Fatalf("Prefixes() has %s before %s in %s", a, b, ps)
		}
		if a.Bits() == b.Bits() && a.Bits() > 0 && netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked().Contains(b.Addr()) {
			t.Fatalf("Prefixes() has %s and %s, which are one, in %s", a, b, ps)
		}
	}
}

// randomPrefix lies at either end or in the middle of the addresses of a family.
func randomPrefix(r *rand.Rand) netip.Prefix {
	a := randomAddr(r)
	return netip.PrefixFrom(a, a.BitLen()-r.IntN(6)).Masked()
}

func randomAddr(r *rand.Rand) netip.Addr {
	low := byte(r.UintN(32))
	return []netip.Addr{
		netip.AddrFrom4([4]byte{0, 0, 0, low}),
		netip.AddrFrom4([4]byte{192, 0, 2, 240 + low}), // over the border of a byte
		netip.AddrFrom4([4]byte{255, 255, 255, 255 - low}),
		netip.AddrFrom16([16]byte{15: low}),
		netip.AddrFrom16([16]byte{7: 0xff, 8: 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 255 - low}), // below the border of
		netip.AddrFrom16([16]byte{6: 1, 15: low}),                                                   // the upper half
		netip.AddrFrom16([16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 255 - low}),
	}[r.IntN(7)]
}

func FuzzParseSet(f *testing.F) {
	for _, s := range []string{
		"example.cn\n192.0.2.0/24\n", "\ufeff# c\r\nfull:a\r\n", "server=/a/b/1.2.3.4", "0.0.0.0 ads.example", "||x^", "payload:\n- 'DOMAIN,x'\n",
		"IP-CIDR6,::/0\n0.0.0.0/0", "regexp:a,b=/c #d", "<html>", "\x00", "::ffff:1.2.3.4/97", "fe80::1%eth0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := policy.ParseSet(strings.NewReader(text))
		if err != nil {
			if !strings.Contains(err.Error(), "line ") {
				t.Errorf("ParseSet(%q): %q, want an error with the line", text, err)
			}
			return
		}
		for _, p := range set.Prefixes() {
			if !set.MatchAddr(p.Addr()) {
				t.Errorf("MatchAddr(%s) = false, but Prefixes() has %s", p.Addr(), p)
			}
		}
		checkFewestPrefixes(t, set.Prefixes())
		if twice := parseSet(t, text+"\n"+strings.TrimPrefix(text, "\ufeff")); twice.Names() != set.Names() {
			t.Errorf("the set of %q twice has %d names, want %d", text, twice.Names(), set.Names())
		}
	})
}
