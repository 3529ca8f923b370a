package policy_test

import (
	"slices"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestRulesBehindWiderOnesAreUnreachable(t *testing.T) {
	set := parseSet(t, "example.cn\n203.0.113.0/24")
	port := func(first, last uint16) []policy.PortRange {
		return []policy.PortRange{{First: first, Last: last}}
	}
	for _, tt := range []struct {
		sentence    string
		first, then policy.Rule
		want        bool
	}{
		{"nothing passes a rule without conditions", policy.Rule{}, policy.Rule{Domains: patterns(t, "cn")}, true},
		{"a rule with a condition lets others pass", policy.Rule{Domains: patterns(t, "cn")}, policy.Rule{}, false},
		{"a domain is within its parent", policy.Rule{Domains: patterns(t, "cn")}, policy.Rule{Domains: patterns(t, "a.cn", "full:b.cn")}, true},
		{"a parent is not within its domain", policy.Rule{Domains: patterns(t, "a.cn")}, policy.Rule{Domains: patterns(t, "cn")}, false},
		{"subdomains are not within a full name", policy.Rule{Domains: patterns(t, "full:a.cn")}, policy.Rule{Domains: patterns(t, "a.cn")}, false},
		{"names that contain a keyword are within it", policy.Rule{Domains: patterns(t, "keyword:ads")}, policy.Rule{Domains: patterns(t, "ads.cn", "full:loads", "keyword:loads")}, true},
		{"a full name is within the expression it matches", policy.Rule{Domains: patterns(t, "regexp:^a")}, policy.Rule{Domains: patterns(t, "full:a.cn")}, true},
		{"a domain is not", policy.Rule{Domains: patterns(t, "regexp:^a")}, policy.Rule{Domains: patterns(t, "a.cn")}, false},
		{"a domain is within a set", policy.Rule{Sets: []*policy.Set{set}}, policy.Rule{Domains: patterns(t, "a.example.cn")}, true},
		{"a set is within itself", policy.Rule{Sets: []*policy.Set{set}}, policy.Rule{Sets: []*policy.Set{set}, Ports: port(1, 2)}, true},
		{"a prefix is within a wider one", policy.Rule{Prefixes: prefixes("203.0.112.0/23")}, policy.Rule{Prefixes: prefixes("203.0.113.0/24")}, true},
		{"a prefix is within two that touch", policy.Rule{Prefixes: prefixes("203.0.112.0/24", "203.0.113.0/24")}, policy.Rule{Prefixes: prefixes("203.0.112.0/23")}, true},
		{"a prefix is within a set", policy.Rule{Sets: []*policy.Set{set}}, policy.Rule{Prefixes: prefixes("203.0.113.128/25")}, true},
		{"a wider prefix is not", policy.Rule{Sets: []*policy.Set{set}}, policy.Rule{Prefixes: prefixes("203.0.112.0/23")}, false},
		{"one alternative that is not within is enough", policy.Rule{Domains: patterns(t, "cn")}, policy.Rule{Domains: patterns(t, "a.cn"), Prefixes: prefixes("203.0.113.0/24")}, false},
		{"resolved addresses are not within dialled ones", policy.Rule{Prefixes: prefixes("203.0.113.0/24")}, policy.Rule{Prefixes: prefixes("203.0.113.0/24"), Resolve: true}, false},
		{"dialled addresses are within resolved ones", policy.Rule{Prefixes: prefixes("203.0.113.0/24"), Resolve: true}, policy.Rule{Prefixes: prefixes("203.0.113.0/24")}, true},
		{"ports are within a wider range", policy.Rule{Ports: port(1, 1023)}, policy.Rule{Ports: port(80, 443)}, true},
		{"ports that overlap are not", policy.Rule{Ports: port(80, 443)}, policy.Rule{Ports: port(1, 100)}, false},
		{"transports are within more of them", policy.Rule{Protos: policy.SetTCP | policy.SetUDP}, policy.Rule{Protos: policy.SetUDP}, true},
		{"protocols are not within others", policy.Rule{Protocols: policy.TLS.Set()}, policy.Rule{Protocols: policy.QUIC.Set()}, false},
		{"a client is within everyone", policy.Rule{}, policy.Rule{Clients: []string{"tv"}}, true},
		{"everyone is not within a client", policy.Rule{Clients: []string{"tv"}}, policy.Rule{}, false},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			tt.first.Name, tt.then.Name = "first", "then"
			p := policy.New(policy.Config{Default: "direct", Clients: []policy.Section{{Name: "tv"}}, Rules: []policy.Rule{tt.first, tt.then}})
			if got := slices.Contains(p.Unreachable(), "then"); got != tt.want {
				t.Errorf("Unreachable() has the second rule: %t, want %t", got, tt.want)
			}
		})
	}
}
