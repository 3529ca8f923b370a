package nft

import (
	"strings"
	"testing"
)

func TestEncryptedDNSIsRefusedToItsGroupsOnly(t *testing.T) {
	text := build(t, family3()).String()
	for _, tt := range []struct {
		group    string
		dot, doh bool
	}{{"g0", true, false}, {"g1", true, true}, {"g2", false, false}, {"g3", false, false}} {
		_, rest, _ := strings.Cut(text, "chain "+tt.group+" {")
		rules, _, _ := strings.Cut(rest, "\n\t}")
		if got := strings.Contains(rules, "th dport 853 goto refuse"); got != tt.dot {
			t.Errorf("%s refuses port 853: %t, want %t\n%s", tt.group, got, tt.dot, rules)
		}
		for _, rule := range []string{"th dport 443 ip daddr @doh4 goto refuse", "th dport 443 ip6 daddr @doh6 goto refuse"} {
			if got := strings.Contains(rules, rule); got != tt.doh {
				t.Errorf("%s has the rule %q: %t, want %t", tt.group, rule, got, tt.doh)
			}
		}
	}
}
