package policy_test

import (
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

// judged is what matters of Ways to those who ask for a name.
type judged struct {
	ways     string // direct, reject, open, or the only outbound
	upstream string
	needs    bool
}

func summed(w policy.Ways) judged {
	j := judged{upstream: w.Upstream, needs: w.NeedsAddr}
	switch {
	case w.AllDirect:
		j.ways = "direct"
	case w.AllReject:
		j.ways = "reject"
	case w.Open:
		j.ways = "open"
	default:
		j.ways = w.First.Outbound
	}
	return j
}

func rules(rs ...policy.Rule) policy.Config {
	return policy.Config{
		Default: "direct",
		Sniff:   true,
		Rules:   rs,
		Outbounds: []policy.Outbound{
			{Name: "node", Kind: policy.Node},
			{Name: "wan2", Kind: policy.Interface, Upstream: "wan2dns"},
		},
		LocalUpstream:  "isp",
		RemoteUpstream: "remote",
	}
}

func TestANameIsJudgedByWhatIsStillPossible(t *testing.T) {
	cn := policy.Rule{Name: "cn", Domains: patterns(t, "cn"), Outbound: "direct"}
	blocked := policy.Rule{Name: "blocked", Domains: patterns(t, "ads.example"), Outbound: "reject"}
	video := policy.Rule{Name: "video", Domains: patterns(t, "video.example"), Outbound: "wan2"}
	ssh := policy.Rule{Name: "ssh", Ports: []policy.PortRange{{First: 22, Last: 22}}, Outbound: "wan2"}
	quic := policy.Rule{Name: "quic", Protocols: policy.QUIC.Set(), Protos: policy.SetUDP, Outbound: "reject"}
	telegram := policy.Rule{Name: "telegram", Prefixes: prefixes("198.51.100.0/24"), Outbound: "node"}
	resolved := policy.Rule{Name: "resolved", Prefixes: prefixes("203.0.113.0/24"), Resolve: true, Outbound: "wan2"}
	rest := policy.Rule{Name: "rest", Outbound: "node"}

	for _, tt := range []struct {
		sentence string
		rules    []policy.Rule
		host     string
		want     judged
	}{
		{"a name of a direct rule is direct", []policy.Rule{cn, rest}, "a.cn", judged{"direct", "isp", false}},
		{"a name of a node is asked of the remote upstream", []policy.Rule{cn, rest}, "a.example", judged{"node", "remote", false}},
		{"a name of an outbound with its own upstream is asked there", []policy.Rule{video, rest}, "video.example", judged{"wan2", "wan2dns", false}},
		{"a rejected name is asked nowhere", []policy.Rule{blocked, rest}, "ads.example", judged{"reject", "", false}},
		{"no rule leaves the default", nil, "a.example", judged{"direct", "isp", false}},
		{"a port rule before the name leaves it open", []policy.Rule{ssh, cn}, "a.cn", judged{"open", "wan2dns", false}},
		{"a port rule behind the name does not", []policy.Rule{cn, ssh}, "a.cn", judged{"direct", "isp", false}},
		{"an address rule before the name leaves it open", []policy.Rule{telegram, cn}, "a.cn", judged{"open", "remote", false}},
		{"an address rule to the same outbound does not", []policy.Rule{telegram, rest}, "a.example", judged{"node", "remote", false}},
		{"direct or reject is not asked locally", []policy.Rule{quic}, "a.example", judged{"open", "remote", false}},
		{"the first way that leaves elsewhere is asked", []policy.Rule{quic, telegram, ssh}, "a.example", judged{"open", "remote", false}},
		{"a rule with resolve needs the address", []policy.Rule{resolved}, "a.example", judged{"open", "remote", true}},
		{"but not behind the rule that decides", []policy.Rule{cn, resolved}, "a.cn", judged{"direct", "isp", false}},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			if got := summed(policy.New(rules(tt.rules...)).Name(0, tt.host)); got != tt.want {
				t.Errorf("Name(0, %q)\n got %+v\nwant %+v", tt.host, got, tt.want)
			}
		})
	}
}

func TestAnAnswerIsJudgedByItsAddresses(t *testing.T) {
	p := policy.New(rules(
		policy.Rule{Name: "telegram", Prefixes: prefixes("198.51.100.0/24"), Outbound: "node"},
		policy.Rule{Name: "resolved", Prefixes: prefixes("203.0.113.0/24"), Resolve: true, Outbound: "wan2"},
	))
	for _, tt := range []struct {
		sentence string
		addr     string
		all      []string
		want     judged
	}{
		{"an address in no rule goes the default way", "192.0.2.1", nil, judged{"direct", "isp", false}},
		{"an address in a rule goes its way", "198.51.100.1", nil, judged{"node", "remote", false}},
		{"another address of the answer does not change that", "192.0.2.1", []string{"192.0.2.1", "198.51.100.1"}, judged{"direct", "isp", false}},
		{"unless the rule resolves names", "192.0.2.1", []string{"192.0.2.1", "203.0.113.1"}, judged{"wan2", "wan2dns", false}},
		{"a rule that resolves needs nothing more", "203.0.113.1", nil, judged{"wan2", "wan2dns", false}},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			if got := summed(p.Answered(0, "a.example", addr(tt.addr), addrs(tt.all...)...)); got != tt.want {
				t.Errorf("Answered(0, a.example, %s, %s)\n got %+v\nwant %+v", tt.addr, tt.all, got, tt.want)
			}
		})
	}
}

func TestAFlowWithoutANameStaysInTheKernelIfNoNameCouldChangeItsWay(t *testing.T) {
	byName := policy.Rule{Name: "video", Domains: patterns(t, "video.example"), Outbound: "node"}
	byAddr := policy.Rule{Name: "telegram", Prefixes: prefixes("198.51.100.0/24"), Outbound: "node"}
	direct := policy.Rule{Name: "cn", Domains: patterns(t, "cn"), Outbound: "direct"}
	for _, tt := range []struct {
		sentence string
		rule     policy.Rule
		mode     policy.Mode
		sniff    bool
		want     bool
	}{
		{"a name could lead to a node", byName, policy.FakeIP, true, false},
		{"but not if none is looked for", byName, policy.FakeIP, false, true},
		{"unless DNS tells the names of real addresses", byName, policy.RealIP, false, false},
		{"an address could lead to a node", byAddr, policy.FakeIP, false, false},
		{"a name that leads directly changes nothing", direct, policy.RealIP, true, true},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			c := rules(tt.rule)
			c.Sniff, c.Mode = tt.sniff, tt.mode
			if got := policy.New(c).AnyName(0).AllDirect; got != tt.want {
				t.Errorf("AnyName(0).AllDirect = %t, want %t", got, tt.want)
			}
		})
	}
}

// Without sniffing, real addresses that are given to a client in mode fakeip are
// told to be of names that count.
func TestANameThatIsNeverFakedKeepsFlowsFromTheKernelOnlyIfItMayLeaveElsewhere(t *testing.T) {
	all := policy.Rule{Name: "all", Outbound: "direct"}
	to := func(outbound string, names ...string) policy.Rule {
		return policy.Rule{Name: outbound, Domains: patterns(t, names...), Outbound: outbound}
	}
	resolved := policy.Rule{Name: "resolved", Prefixes: prefixes("203.0.113.0/24"), Resolve: true, Outbound: "direct"}
	for _, tt := range []struct {
		sentence string
		real     string
		rules    []policy.Rule
		want     bool
	}{
		{"no rule is for it", "a.example", []policy.Rule{to("node", "b.example", "full:example")}, true},
		{"it leaves by a node", "a.example", []policy.Rule{to("node", "a.example")}, false},
		{"what is above it does", "a.example", []policy.Rule{to("node", "example")}, false},
		{"something below it does", "a.example", []policy.Rule{to("node", "full:www.a.example")}, false},
		{"it has nothing below it", "full:a.example", []policy.Rule{to("node", "www.a.example")}, true},
		{"a keyword may be in it", "a.example", []policy.Rule{to("node", "keyword:video")}, false},
		{"it is itself a keyword", "keyword:video", []policy.Rule{to("node", "a.example")}, false},
		{"it is rejected", "a.example", []policy.Rule{to("reject", "a.example")}, false},
		{"an earlier rule has it leave directly", "a.example", []policy.Rule{to("direct", "example"), to("node", "a.example")}, true},
		{"an earlier rule has a part of it leave directly", "a.example", []policy.Rule{to("direct", "full:a.example"), to("node", "a.example")}, false},
		{"an earlier rule has everything leave directly", "a.example", []policy.Rule{all, to("node", "a.example")}, true},
		{"its addresses are compared, for nothing", "a.example", []policy.Rule{resolved}, true},
		{"only another client's leaves by a node", "a.example", []policy.Rule{{Clients: []string{"tv"}, Domains: patterns(t, "a.example"), Outbound: "node"}}, true},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			c := rules(tt.rules...)
			c.Sniff, c.RealIP, c.Clients = false, patterns(t, tt.real), []policy.Section{{Name: "tv"}}
			if got := policy.New(c).AnyName(0).AllDirect; got != tt.want {
				t.Errorf("AnyName(0).AllDirect = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestTheRouterIsToldRealAddressesInEveryMode(t *testing.T) {
	c := rules(policy.Rule{Name: "video", Domains: patterns(t, "video.example"), Outbound: "node"})
	c.Sniff, c.Router, c.Clients = false, true, []policy.Section{{Name: "tv"}}
	p := policy.New(c)
	for client, want := range []bool{false, true} {
		if got := p.AnyName(policy.Client(client)).AllDirect; got != want {
			t.Errorf("AnyName(%d).AllDirect = %t, want %t", client, got, want)
		}
	}
}

func TestNamesOfTheListHaveRealAddresses(t *testing.T) {
	p := household(t)
	for name, want := range map[string]bool{"msftncsi.com": true, "www.msftncsi.com": true, "example.com": false, "": false} {
		if got := p.RealName(name); got != want {
			t.Errorf("RealName(%q) = %t, want %t", name, got, want)
		}
	}
}

func TestAnOutboundThatIsNotDeclaredLetsNothingOut(t *testing.T) {
	p := policy.New(policy.Config{Default: "direct", Rules: []policy.Rule{{Name: "typo", Outbound: "nod"}}})
	if got, want := p.Decide(policy.Flow{}), (policy.Verdict{Outbound: "reject", Kind: policy.Reject, Rule: "typo"}); got != want {
		t.Errorf("Decide(Flow{}) = %+v, want %+v", got, want)
	}
}

func TestARuleForClientsThatAreNotDeclaredMatchesNobody(t *testing.T) {
	p := policy.New(policy.Config{Default: "direct", Rules: []policy.Rule{{Name: "typo", Clients: []string{"tw"}, Outbound: "reject"}}})
	if got := p.Decide(policy.Flow{}).Outbound; got != "direct" {
		t.Errorf("Decide(Flow{}).Outbound = %q, want direct", got)
	}
}

func TestARuleSetThatIsEmptyMatchesNothing(t *testing.T) {
	p := policy.New(rules(policy.Rule{Name: "not fetched", Sets: []*policy.Set{parseSet(t, "")}, Resolve: true, Outbound: "node"}))
	if got, want := summed(p.Name(0, "a.example")), (judged{"direct", "isp", false}); got != want {
		t.Errorf("Name(0, a.example) = %+v, want %+v", got, want)
	}
}
