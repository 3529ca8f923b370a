package policy_test

import (
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestPatternsMatchNames(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		pattern  string
		name     string
		want     bool
	}{
		{"a bare name matches itself", "example.cn", "example.cn", true},
		{"a bare name matches its subdomains", "example.cn", "a.b.example.cn", true},
		{"a name that only ends alike does not match", "example.com", "notexample.com", false},
		{"the parent of a name does not match", "www.example.cn", "example.cn", false},
		{"a top-level domain matches what is under it", "cn", "example.cn", true},
		{"domain: is the same as a bare name", "domain:example.cn", "www.example.cn", true},
		{"a leading dot includes the name itself", ".example.cn", "example.cn", true},
		{"a leading star includes the name itself", "*.example.cn", "example.cn", true},
		{"a leading star includes deeper names", "*.example.cn", "a.b.example.cn", true},
		{"full: matches the name itself", "full:example.cn", "example.cn", true},
		{"full: matches no subdomain", "full:example.cn", "www.example.cn", false},
		{"keyword: matches within a label", "keyword:ads", "x.loads.example", true},
		{"keyword: matches across labels", "keyword:a.e", "ads-a.example", true},
		{"keyword: does not match other names", "keyword:ads", "example.cn", false},
		{"regexp: matches anywhere in the name", "regexp:cdn[0-9]+", "x.cdn12.example", true},
		{"regexp: is anchored if it says so", `regexp:^cdn\.`, "x.cdn.example", false},
		{"regexp: with capital letters matches lower-case names", `regexp:^CDN\.`, "cdn.example", true},
		{"regexp: keeps its classes", `regexp:^\S+\.example$`, "a.example", true},
		{"capital letters are lowered", "Example.CN", "www.example.cn", true},
		{"capital keywords are lowered", "keyword:ADS", "ads.example", true},
		{"a trailing dot is dropped", "example.cn.", "www.example.cn", true},
		{"underscores are allowed", "_dmarc.example.cn", "_dmarc.example.cn", true},
		{"an internationalised name is written in ASCII", "xn--bcher-kva.example", "xn--bcher-kva.example", true},
		{"a suffix does not match the empty name", "example.cn", "", false},
		{"a regular expression does not match the empty name", "regexp:.*", "", false},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			p, err := policy.ParsePattern(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Match(tt.name); got != tt.want {
				t.Errorf("%s.Match(%q) = %t, want %t", p, tt.name, got, tt.want)
			}
		})
	}
}

func TestThePatternThatNobodyParsedMatchesNothing(t *testing.T) {
	for _, name := range []string{"", "example.cn"} {
		if (policy.Pattern{}).Match(name) {
			t.Errorf("Pattern{}.Match(%q) = true, want false", name)
		}
	}
}

func TestPatternsAreRefusedWithAReason(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		pattern  string
		want     string
	}{
		{"nothing", "", "the name is empty"},
		{"a dot alone", ".", "the name is empty"},
		{"a star alone", "*", "a * can only stand at the beginning"},
		{"a star in the middle", "a*.example", "a * can only stand at the beginning"},
		{"letters beyond ASCII", "bücher.example", "write its xn-- form"},
		{"the Kelvin sign, whose lower case is a k", "full:\u212a.example", "write its xn-- form"},
		{"a keyword beyond ASCII", "keyword:bücher", "write its xn-- form"},
		{"an empty label", "a..example", "empty label"},
		{"a long label", strings.Repeat("a", 64) + ".example", "longer than 63 bytes"},
		{"a long name", strings.Repeat("a.", 130) + "example", "longer than 253 bytes"},
		{"a space", "a b.example", `' ' cannot stand in a host name`},
		{"an address", "192.0.2.1", "is an address"},
		{"an IPv6 address", "2001:db8::1", "is an address"},
		{"a prefix", "192.0.2.0/24", "is an address"},
		{"an address behind domain:", "domain:192.0.2.1", "is an address"},
		{"another program's pattern", "geosite:cn", "not with geosite:"},
		{"an empty keyword", "keyword:", "the name is empty"},
		{"an empty expression", "regexp:", "is empty"},
		{"a broken expression", "regexp:(", "compiling"},
		{"an address of the web", "https://example.cn/", "not with https:"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			p, err := policy.ParsePattern(tt.pattern)
			if err == nil {
				t.Fatalf("ParsePattern(%q) = %s, want an error with %q", tt.pattern, p, tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParsePattern(%q): %q, want an error with %q", tt.pattern, err, tt.want)
			}
		})
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"example.cn", ".Example.CN.", "*.x", "domain:a.b", "full:a", "keyword:k", "regexp:^a[bc]+$", "regexp:A\\S", "192.0.2.1", "bücher.example", "a:b"} {
		f.Add(s, "www.example.cn")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		p, err := policy.ParsePattern(s)
		if err != nil {
			return
		}
		again, err := policy.ParsePattern(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("ParsePattern(%q) prints as %q, which parses as %q, %v", s, p, again, err)
		}
		if p.Match(name) != again.Match(name) {
			t.Fatalf("%q and what it prints as disagree about %q", s, name)
		}
		set, err := policy.ParseSet(strings.NewReader(p.String()))
		if err == nil && set.MatchName(name) != p.Match(name) {
			t.Fatalf("MatchName(%q) of a set of %q = %t, want %t", name, p, set.MatchName(name), p.Match(name))
		}
	})
}
