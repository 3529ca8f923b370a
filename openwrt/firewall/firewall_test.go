package firewall

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft"
)

// usual is what OpenWrt ships, with a guest zone as its documentation makes one.
const usual = `
config defaults
	option input 'REJECT'
	option output 'ACCEPT'
	option forward 'REJECT'
config zone
	option name 'lan'
	list network 'lan'
	option input 'ACCEPT'
	option output 'ACCEPT'
	option forward 'ACCEPT'
config zone
	option name 'wan'
	list network 'wan'
	list network 'wan6'
	option input 'REJECT'
	option output 'ACCEPT'
	option forward 'REJECT'
	option masq '1'
config zone 'guest'
	option name 'guest'
	option network 'guest'
	option input 'REJECT'
	option output 'ACCEPT'
	option forward 'REJECT'
config rule
	option name 'Guest-DNS'
	option src 'guest'
	option dest_port '53'
	option target 'ACCEPT'
config rule
	option name 'Allow-ICMPv6-Forward'
	option src 'wan'
	option dest '*'
	option proto 'icmp'
	list icmp_type 'echo-request'
	option family 'ipv6'
	option target 'ACCEPT'
config forwarding
	option src 'lan'
	option dest 'wan'
config forwarding
	option src 'guest'
	option dest 'wan'
`

func place() Place {
	return Place{
		Served:   []string{"br-lan", "br-guest"},
		Networks: map[string][]string{"lan": {"br-lan"}, "guest": {"br-guest"}, "wan": {"eth1"}},
		WAN:      []string{"eth1"},
	}
}

// noon is a Sunday.
func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// texts are judgements as a reader of tests wants them.
func texts(all []nft.Judgement) string {
	words := make([]string, len(all))
	for i, j := range all {
		words[i] = text(j)
	}
	return strings.Join(words, "; ")
}

func text(j nft.Judgement) string {
	var words []string
	say := func(restricts bool, what string, choice any) {
		if restricts {
			words = append(words, fmt.Sprintf("%s %v", what, choice))
		}
	}
	say(j.Family != 0, "family", j.Family)
	say(j.Proto != 0, "proto", j.Proto)
	say(j.Sources.Restricts(), "from", j.Sources)
	say(j.Targets.Restricts(), "to", j.Targets)
	say(j.SourcePorts.Restricts(), "sport", j.SourcePorts)
	say(j.TargetPorts.Restricts(), "dport", j.TargetPorts)
	say(j.MACs.Restricts(), "mac", j.MACs)
	if j.Refuse {
		return strings.Join(append([]string{"refuse"}, words...), " ")
	}
	return strings.Join(append([]string{"accept"}, words...), " ")
}

// judged are the judgements of flows and of questions from an interface.
func judged(f *Firewall, p Place, device string, now time.Time) (forward, input string) {
	for _, z := range f.Zones(p, now) {
		for _, d := range z.Devices {
			if d == device {
				return texts(z.Forward), texts(z.Input)
			}
		}
	}
	return "", ""
}

func TestWhatTheUsualFirewallRefusesIsNothing(t *testing.T) {
	if zones := Parse(usual, "").Zones(place(), noon()); len(zones) > 0 {
		t.Errorf("Zones = %+v, want none: every flow to the WAN and every question is accepted", zones)
	}
}

// without takes the lines of a section out of a configuration.
func without(config, section string) string { return strings.Replace(config, section, "", 1) }

func TestAZoneMayReachTheWANAsItsForwardingsSay(t *testing.T) {
	forwarding := "config forwarding\n\toption src 'guest'\n\toption dest 'wan'\n"
	for _, tt := range []struct{ name, config, want string }{
		{"with a forwarding", usual, ""},
		{"without one", without(usual, forwarding), "refuse"},
		{"with one that is disabled", strings.Replace(usual, forwarding, forwarding+"\toption enabled '0'\n", 1), "refuse"},
		{"with one for IPv4 only", strings.Replace(usual, forwarding, forwarding+"\toption family 'ipv4'\n", 1), "accept family 4; refuse"},
		{"with one to another zone", strings.Replace(usual, forwarding, "config forwarding\n\toption src 'guest'\n\toption dest 'lan'\n", 1), "refuse"},
		{"with one to any zone", strings.Replace(usual, forwarding, "config forwarding\n\toption src 'guest'\n\toption dest '*'\n", 1), ""},
		{"with one from any zone", strings.Replace(usual, forwarding, "config forwarding\n\toption src '*'\n\toption dest 'wan'\n", 1), ""},
		{"without one, and the default is to forward", strings.Replace(without(usual, forwarding), "option forward 'REJECT'", "option forward 'ACCEPT'", 1), ""},
		{"without one, and the zone forwards within itself", strings.Replace(without(usual, forwarding), "\toption forward 'REJECT'\nconfig rule", "\toption forward 'ACCEPT'\nconfig rule", 1), "refuse"},
		{"with no defaults at all", strings.Replace(without(usual, forwarding), "config defaults", "config nothing", 1), "refuse"},
	} {
		if got, _ := judged(Parse(tt.config, ""), place(), "br-guest", noon()); got != tt.want {
			t.Errorf("%s: flows are judged by %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRulesAreJudgedAsFw4HasThem(t *testing.T) {
	const kid = "\toption src 'lan'\n\toption dest 'wan'\n\toption src_mac '02:00:00:00:77:01'\n"
	for _, tt := range []struct{ name, rule, want string }{
		{"by a MAC", kid + "\toption proto 'all'\n\toption target 'REJECT'\n", "refuse mac {[02:00:00:00:77:01] []}"},
		{"by all MACs but one", "\toption src 'lan'\n\toption dest 'wan'\n\tlist src_mac '!2-0-0-0-77-1'\n\toption target 'DROP'\n", "refuse mac {[] [02:00:00:00:77:01]}"},
		{"to any zone", "\toption src 'lan'\n\toption dest '*'\n\toption src_ip '192.168.77.5'\n\toption target 'reject'\n", "refuse from {[192.168.77.5/32] []}"},
		{"from any zone", "\toption src '*'\n\toption dest 'wan'\n\toption dest_port '25 465-587 !500'\n\toption target 'REJ'\n", "refuse dport {[25 465-587] [500]}"},
		{"by protocol and source port", "\toption src 'lan'\n\toption dest 'wan'\n\toption proto 'udp icmp'\n\toption src_port '1:1023'\n\toption target 'DROP'\n", "refuse proto udp sport {[1-1023] []}"},
		{"by protocol number", "\toption src 'lan'\n\toption dest 'wan'\n\tlist proto '6'\n\toption target 'DROP'\n", "refuse proto tcp"},
		{"by any protocol, which has no ports", "\toption src 'lan'\n\toption dest 'wan'\n\toption proto 'any'\n\toption dest_port '80'\n\toption target 'DROP'\n", "refuse"},
		{"by family", "\toption src 'lan'\n\toption dest 'wan'\n\toption family 'ipv6'\n\toption target 'DROP'\n", "refuse family 6"},
		{"by a range, a mask and an exception", "\toption src 'lan'\n\toption dest 'wan'\n\tlist src_ip '192.168.77.32-192.168.77.70'\n\tlist dest_ip '10.0.0.0/255.128.0.0'\n\tlist dest_ip '!2001:db8::/32'\n\toption target 'DROP'\n",
			"refuse from {[192.168.77.32/27 192.168.77.64/30 192.168.77.68/31 192.168.77.70/32] []} to {[10.0.0.0/9] [2001:db8::/32]}"},
		{"that is disabled", kid + "\toption enabled '0'\n\toption target 'REJECT'\n", ""},
		{"to another zone", "\toption src 'lan'\n\toption dest 'guest'\n\toption target 'REJECT'\n", ""},
		{"from another zone", "\toption src 'guest'\n\toption dest 'wan'\n\toption target 'REJECT'\n", ""},
		{"to the router", "\toption src 'lan'\n\toption proto 'tcp'\n\toption dest_port '22'\n\toption target 'REJECT'\n", ""},
		{"from the router", "\toption dest 'wan'\n\toption target 'REJECT'\n", ""},
		{"of another protocol", "\toption src 'lan'\n\toption dest 'wan'\n\toption proto 'icmp'\n\toption target 'REJECT'\n", ""},
		{"that accepts what is accepted anyway", kid + "\toption target 'ACCEPT'\n", ""},
		{"that changes packets", kid + "\toption target 'MARK'\n\toption set_mark '1'\n", ""},
		{"without a target", kid, ""},
		{"with a mistake", kid + "\toption dest_port 'http'\n\toption target 'REJECT'\n", ""},
		{"of a zone that does not exist", "\toption src 'kids'\n\toption dest 'wan'\n\toption target 'REJECT'\n", ""},
		{"with a list where fw4 takes none", "\tlist src 'lan'\n\toption dest 'wan'\n\toption target 'REJECT'\n", ""},
	} {
		if got, _ := judged(Parse(usual+"config rule\n"+tt.rule, ""), place(), "br-lan", noon()); got != tt.want {
			t.Errorf("a rule %s: flows are judged by %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	f := Parse(usual+`
config rule
	option src 'lan'
	option dest 'wan'
	option dest_port '443'
	option target 'ACCEPT'
config rule
	option src 'lan'
	option dest 'wan'
	option src_mac '02:00:00:00:77:01'
	option target 'REJECT'
config rule
	option src '*'
	option dest 'wan'
	option dest_port '25'
	option target 'DROP'
config rule
	option src 'lan'
	option dest 'wan'
	option src_ip '192.168.77.9'
	option target 'ACCEPT'
`, "")
	want := "refuse dport {[25] []}; accept dport {[443] []}; refuse mac {[02:00:00:00:77:01] []}"
	if got, _ := judged(f, place(), "br-lan", noon()); got != want {
		t.Errorf("flows are judged by %q, want %q: rules for any source first, and nothing behind the last that refuses", got, want)
	}
}

func TestQuestionsToTheRouterAreJudgedByTheRulesForItsInput(t *testing.T) {
	dns := "config rule\n\toption name 'Guest-DNS'\n\toption src 'guest'\n\toption dest_port '53'\n\toption target 'ACCEPT'\n"
	for _, tt := range []struct{ name, config, want string }{
		{"accepted by a rule", usual, ""},
		{"not accepted by any", without(usual, dns), "refuse"},
		{"accepted over UDP", strings.Replace(usual, dns, dns+"\toption proto 'udp'\n", 1), "accept proto udp; refuse"},
		{"accepted in a zone that accepts all", strings.Replace(without(usual, dns), "'guest'\n\toption input 'REJECT'", "'guest'\n\toption input 'ACCEPT'", 1), ""},
		{"accepted by a rule for other ports", strings.Replace(usual, "dest_port '53'", "dest_port '67-68'", 1), "refuse"},
		{"accepted by a rule that cannot be seen", strings.Replace(usual, dns, dns+"\toption limit '10/second'\n", 1), ""},
		{"refused a device", strings.Replace(usual, dns, "config rule\n\toption src 'guest'\n\toption src_mac '02:00:00:00:78:01'\n\toption target 'REJECT'\n"+dns, 1), "refuse mac {[02:00:00:00:78:01] []}"},
	} {
		if _, got := judged(Parse(tt.config, ""), place(), "br-guest", noon()); got != tt.want {
			t.Errorf("%s: questions are judged by %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTheWANIsTheZoneOfTheDefaultRoute(t *testing.T) {
	config := usual + "config zone\n\toption name 'vpn'\n\tlist device 'wg+'\n\toption masq '1'\nconfig rule\n\toption src 'lan'\n\toption dest 'vpn'\n\toption target 'REJECT'\n"
	p := place()
	for _, tt := range []struct {
		name string
		wan  []string
		want string
	}{
		{"its network's interface", []string{"eth1"}, ""},
		{"an interface of a pattern", []string{"wg0"}, "refuse"},
		{"no interface of a zone: the one called wan", []string{"pppoe-wan"}, ""},
	} {
		p.WAN = tt.wan
		if got, _ := judged(Parse(config, ""), p, "br-lan", noon()); got != tt.want {
			t.Errorf("%s: flows are judged by %q, want %q", tt.name, got, tt.want)
		}
	}
	p.WAN = nil
	masquerading := strings.ReplaceAll(usual, "'wan'", "'internet'")
	if got, _ := judged(Parse(masquerading, ""), p, "br-lan", noon()); got != "" {
		t.Errorf("a zone that masquerades: flows are judged by %q, want nothing", got)
	}
}
