package config

import (
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"nothing is wrong with rules by name before rules by address", node + "config rule\n\tlist domain a.example\n\toption outbound direct\nconfig rule\n\tlist ip 192.0.2.1\n\toption outbound node\nconfig fairlead\n\toption default node", ""},
		{"nothing is wrong with direct addresses before names", node + "config rule\n\tlist ip 192.0.2.1\n\toption outbound direct\nconfig rule\n\tlist domain a.example\n\toption outbound node", ""},
		{"nothing is wrong with a node by name, which the WAN's own resolvers know", "config outbound a\n\toption type socks5\n\toption server node.example\n\toption port 1080", ""},
		{"a section opened twice", "config client tv\n\tlist ip 192.0.2.1\nconfig client tv\n\tlist ip 192.0.2.2", `
f:3: tv: it was opened before, on line 1; both are taken as one section`},
		{"a rule set that was not fetched", "config ruleset a\n\toption url https://x.example\nconfig rule\n\tlist ruleset a\n\toption outbound direct", `
f:2: a: url: it has not been fetched yet: rules match nothing by it`},
		{"options of a rule set that do nothing yet", "config ruleset a\n\toption path /etc/addrs.txt\n\toption interval 60\n\toption category cn", `
f:3: a: interval: it has no effect yet: this version does not fetch rule sets, and reads all of a file
f:4: a: category: it has no effect yet: this version does not fetch rule sets, and reads all of a file`},
		{"options without a meaning for the type", "config outbound a\n\toption type interface\n\toption device wg0\n\toption port 1\nconfig outbound b\n\toption type socks5\n\toption server 192.0.2.1\n\toption port 1\n\toption masq 1", `
f:4: a: port: it has no meaning for an outbound of type interface
f:9: b: masq: it has no meaning for an outbound of type socks5`},
		{"nobody is served", "config fairlead main\n\toption enabled 1\nconfig rule\n\tlist domain a.example\n\toption outbound reject", `
f:1: main: nothing is served: it needs list network or list device`},
		{"nothing is done", "config fairlead main\n\toption enabled 1\n\tlist network lan\nconfig client\n\tlist ip 192.0.2.1\n\toption mode off", `
f:1: main: there is no rule and the default is direct: everything leaves as it would without fairlead`},
		{"two rules of one name", "config rule\n\toption name a\n\tlist domain a.example\n\toption outbound reject\nconfig rule a\n\tlist domain b.example\n\toption outbound reject", `
f:5: a: the rule on line 1 is called "a" too; explain and logs cannot tell them apart`},
		{"a rule that can never match", "config rule\n\tlist domain example\n\toption outbound reject\nconfig rule\n\tlist domain a.example\n\toption outbound direct", `
f:4: @rule[1]: it can never match: an earlier rule decides everything that it would`},
		{"a rule that resolves", node + "config rule\n\tlist ip 192.0.2.1\n\toption outbound node\n\toption resolve 1", `
f:13: @rule[0]: resolve: every name that no earlier rule decides is asked of dns.remote_upstream`},
		{"a rule that would resolve for nothing", node + "config rule\n\tlist domain a.example\n\toption outbound node\n\toption resolve 1", `
f:13: @rule[0]: resolve: it has no meaning without addresses to compare with`},
		{"addresses before names that leave directly", node + "config rule\n\tlist ip 192.0.2.1\n\toption outbound node\nconfig rule domestic\n\tlist domain a.example\n\toption outbound direct\nconfig fairlead\n\toption default node", `
f:10: @rule[0]: the address of a flow is not known when its name is asked for: names that leave directly by rule "domestic" are not asked of the local upstream, unless an earlier rule decides them`},
		{"a rule set of addresses before the default", node + "config ruleset addrs\n\toption path /etc/addrs.txt\nconfig rule\n\tlist ruleset addrs\n\toption outbound node", `
f:12: @rule[0]: the address of a flow is not known when its name is asked for: names that leave directly by default are not asked of the local upstream, unless an earlier rule decides them`},
		{"a port before the default, of one client", node + "config client tv\n\tlist ip 192.0.2.1\nconfig client pc\n\tlist ip 192.0.2.2\n\toption outbound node\nconfig rule\n\tlist client tv\n\tlist port 25\n\toption outbound node\nconfig rule\n\tlist client pc\n\tlist port 25\n\toption outbound reject", `
f:15: @rule[0]: the port of a flow is not known when its name is asked for: names that leave directly by default are not asked of the local upstream, unless an earlier rule decides them`},
		{"fake addresses in a rule", node + "config rule\n\tlist ip 198.18.1.0/24\n\toption outbound direct", `
f:11: @rule[0]: ip: 198.18.1.0/24 overlaps a fakeip range; fake addresses are never compared`},
		{"a remote upstream that the WAN can read", strings.Replace(node, "option outbound 'node'", "option outbound 'direct'", 1), `
f:2: dns: remote_upstream: upstream "remote" is asked directly and unencrypted: the WAN sees names that do not leave directly`},
		{"the WAN's own resolvers as the remote upstream", "config dns\n\toption remote_upstream auto", `
f:2: @dns[0]: remote_upstream: it is the local upstream, which then sees names that do not leave directly
f:2: @dns[0]: remote_upstream: upstream "auto" is asked directly and unencrypted: the WAN sees names that do not leave directly`},
		{"the upstream of an outbound that the WAN can read", node + "\toption upstream isp\nconfig upstream isp\n\tlist server tcp://192.0.2.1", `
f:10: node: upstream: upstream "isp" is asked directly and unencrypted: the WAN sees names that do not leave directly`},
		{"nothing is wrong with an encrypted one", "config dns\n\toption remote_upstream u\nconfig upstream u\n\tlist server tls://192.0.2.1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := parse(tt.text, true)
			if err != nil {
				t.Fatalf("Parse found mistakes:\n%v", err)
			}
			if got, want := cfg.Warnings.Error(), strings.TrimPrefix(tt.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestWhatIsUnknownIsAWarningUnlessStrict(t *testing.T) {
	text := "config pool x\n\toption a b\nconfig dns\n\toption colour red\n\toption mode realip\n"
	want := "f:1: x: there is no type of section \"pool\"\n" +
		"f:4: @dns[0]: colour: there is no such option in a section of type dns"
	if _, err := parse(text, true); err == nil || err.Error() != want {
		t.Errorf("strict: got the mistakes\n%v\nwant\n%s", err, want)
	}
	cfg, err := parse(text, false)
	if err != nil {
		t.Fatalf("not strict: got the mistakes\n%v", err)
	}
	if got := cfg.Warnings.Error(); got != want {
		t.Errorf("not strict: got the warnings\n%s\nwant\n%s", got, want)
	}
}

func TestWarningsStandBesideMistakes(t *testing.T) {
	cfg, err := parse("config client tv\n\tlist ip 192.0.2.1\nconfig client tv\n\tlist ip x\n", true)
	if err == nil || len(cfg.Warnings) != 1 {
		t.Errorf("got the mistakes %v and the warnings %v, want one of each", err, cfg.Warnings)
	}
}
