package firewall

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/openwrt/uci"
)

// rule is one that accepts or refuses flows of TCP or UDP, with what it asks for
// beside its time.
type rule struct {
	name      string
	src, dest string // of zones; `*`: any; dest empty: the router itself
	judgement nft.Judgement
	when      window
	unseen    []string // conditions that cannot be looked at before a packet is forwarded
	oddities  []string // what it says and the firewall does not do
}

// addRule keeps a rule about what comes from a zone. Those without a source are
// about the router's own packets, and those with other targets change packets.
func (f *Firewall) addRule(r reader) {
	u := rule{name: nameOf(r.section, r.text("name")), src: r.text("src"), dest: r.text("dest"), when: r.window()}
	u.judgement.Family = r.family()
	verdict, judges := r.target()
	u.judgement.Refuse = verdict == refuse
	transport := r.transports(&u.judgement)
	u.judgement.Sources, u.judgement.Targets = r.addresses("src_ip"), r.addresses("dest_ip")
	u.judgement.MACs = r.macs("src_mac")
	r.look()
	u.unseen, u.oddities = r.unseen, r.oddities()

	family, ok := both(u.judgement.Family, f.familyOf(u.src))
	family, ok = also(family, ok, f.familyOf(u.dest))
	u.judgement.Family = family
	known := f.knows(u.src) && (u.dest == "" || f.knows(u.dest))
	if r.enabled() && !r.bad && ok && judges && transport && known {
		f.rules = append(f.rules, u)
	}
}

// nameOf is how a user finds the rule.
func nameOf(s *uci.Section, name string) string { return cmp.Or(name, s.Title()) }

// target tells whether the rule judges, and how.
func (r *reader) target() (v verdict, judges bool) {
	text := r.text("target")
	switch {
	case abbreviates(text, "accept"):
		return accept, true
	case abbreviates(text, "reject"), abbreviates(text, "drop"):
		return refuse, true
	}
	return refuse, false
}

// transports reads protocols and ports, and tells whether TCP or UDP is among
// them. A rule for any protocol has no ports, whatever it says about them.
func (r *reader) transports(j *nft.Judgement) bool {
	j.SourcePorts, j.TargetPorts = r.ports("src_port"), r.ports("dest_port")
	protos := r.words("proto")
	if len(protos) == 0 {
		protos = []string{"tcpudp"}
	}
	tcp, udp := false, false
	for _, word := range protos {
		text, not := negated(word)
		if not {
			r.unseen = append(r.unseen, "proto !"+text)
		}
		switch strings.ToLower(text) {
		case "all", "any", "*":
			j.SourcePorts, j.TargetPorts = nft.Choice[policy.PortRange]{}, nft.Choice[policy.PortRange]{}
			tcp, udp = true, true
		case "tcpudp":
			tcp, udp = true, true
		case "tcp", "6":
			tcp = true
		case "udp", "17":
			udp = true
		}
	}
	switch {
	case tcp && !udp:
		j.Proto = policy.TCP
	case udp && !tcp:
		j.Proto = policy.UDP
	}
	return tcp || udp
}

// look notes conditions on what a packet has only when it is forwarded, or that
// only the firewall's own table knows.
func (r *reader) look() {
	for _, name := range []string{"ipset", "helper", "mark", "dscp", "limit", "device", "direction"} {
		if text := r.text(name); text != "" {
			r.unseen = append(r.unseen, name+" "+text)
		}
	}
}

// oddities are options that fw4 knows and does not do what they say.
func (r *reader) oddities() []string {
	var all []string
	if len(r.words("monthdays")) > 0 {
		all = append(all, "monthdays, which fw4 does not know: it holds on every day of the month")
	}
	if r.flag("utc_time", false) {
		all = append(all, "utc_time, which fw4 does not know: it holds in local time as well")
	}
	return all
}

// judged is the rule as it can be asked before a packet is taken. In doubt more
// is refused than the firewall would, if that concerns only devices that the rule
// names; a rule for a whole zone that cannot be seen is left out.
func (u rule) judged() (nft.Judgement, bool) {
	if len(u.unseen) == 0 {
		return u.judgement, true
	}
	return u.judgement, u.judgement.Refuse && u.namesDevices()
}

// judgedInput is the same for questions to the router. In doubt they are
// answered: that does no harm.
func (u rule) judgedInput() (nft.Judgement, bool) {
	return u.judgement, len(u.unseen) == 0 || !u.judgement.Refuse
}

func (u rule) namesDevices() bool {
	return len(u.judgement.MACs.Of)+len(u.judgement.Sources.Of) > 0
}

// String says what cannot be seen, and what becomes of it.
func (u rule) String() string {
	effect := "fairlead takes no notice of it: flows that it carries pass"
	if _, ok := u.judged(); ok {
		effect = "fairlead refuses its devices whatever that says"
	}
	return fmt.Sprintf("firewall rule %q asks for %s; %s", u.name, strings.Join(u.unseen, ", "), effect)
}
