package nft

import (
	"github.com/fairlead/fairlead/nft/mark"
	"golang.org/x/sys/unix"
)

// The router's own flows are judged at output, because only there can they
// still leave directly. Those that the daemon must carry get a mark by which
// policy routing sends them to the loopback interface: they come back in
// prerouting, where tproxy can give them to a listener.

// divertsRouter tells whether the router's own traffic is diverted.
func (c Config) divertsRouter() bool { return c.Router && c.Groups[c.RouterGroup].diverts() }

func (c Config) routerChains() []chain {
	return []chain{
		{name: "diverted", rules: c.diverted()},
		{name: "again", rules: again()},
		{name: "own", rules: c.own()},
		{name: "router", hook: atRerouting(), rules: c.router()},
	}
}

// atRerouting is behind chain out, which marks the flows of the daemon's answers.
func atRerouting() *hook {
	return &hook{"route", "output", unix.NF_INET_LOCAL_OUT, "mangle + 1", -150 + 1} // NF_IP_PRI_MANGLE
}

// router lets the daemon's own sockets and all answers pass, and follows the
// verdicts of living flows.
func (c Config) router() []rule {
	verdicts := append(c.interfaceVerdicts(),
		leads(markValue(mark.Carried), goTo("again")),
		leads(markValue(mark.Own), accept()))
	return rules(
		line(isNot{metaMark().and(ours()), noMark()}, accept()),
		line(is{ctDirection(), reply()}, accept()),
		line(branch{ctMark().and(ours()), markType(), verdicts}),
		line(has{ctState(), newState()}, goTo("own")))
}

// again sends a packet of a carried flow the way of its first one. The daemon's
// late answers to clients are marked as carried, too, but are not the router's.
func again() []rule {
	return rules(line(is{fibSource(), local()}, setMark{mark.Router}, accept()))
}

// own judges a new flow as group does a client's.
func (c Config) own() []rule {
	rules := rules(
		line(isNot{fibSource(), local()}, accept()),
		line(isOneOf{fibTarget(), addrType(), []value{local(), broadcast(), anycast(), multicast()}}, accept()),
		line(transports(), toPort(dnsPort), goTo("diverted")))
	for _, f := range families() {
		rules = append(rules, line(in{field: target(f), set: homeSet + f.suffix()}, accept()))
	}
	if c.RefuseIPv6 {
		rules = append(rules, line(is{nfproto(), v6().proto}, transports(), goTo(refuseChain)))
	}
	if !c.Groups[c.RouterGroup].asksAddresses() {
		return append(rules, line(goTo(directChain)))
	}
	return append(rules,
		line(jumpTo(waysName(c.RouterGroup))),
		line(transports(), goTo("diverted")))
}

// diverted sends a new flow to the listeners, if there is somebody.
func (c Config) diverted() []rule {
	there := line(beating(), setMark{mark.Router}, accept())
	if c.Closed {
		return rules(there, line(goTo(refuseChain)))
	}
	return rules(there, line(goTo(directChain)))
}

// outside sees what comes from no LAN interface.
func outside() []rule {
	return rules(line(is{iifname(), deviceValue("lo")}, is{metaMark().and(ours()), markValue(mark.Router)}, goTo("looped")))
}

// looped takes a packet of the router's own that came back. From here it cannot
// leave directly any more, and the sender of a datagram would not hear of a
// refusal. So where nobody listens, later flows are judged as without a
// heartbeat, and where the table is open the packet is lost, but its flow leaves
// directly when it tries again.
func (c Config) looped() []rule {
	rules := rules(line(is{ctMark().and(ours()), markValue(mark.Carried)}, goTo("relayed")))
	for _, f := range families() {
		rules = append(rules, line(transports(), toPort(dnsPort), toListener(f, DNSPort), goTo("taken")))
	}
	for _, f := range families() {
		rules = append(rules, line(transports(), toListener(f, GatewayPort), goTo("taken")))
	}
	if c.Closed {
		return append(rules, line(forget{nfproto(), aliveSet}, goTo(refuseChain)))
	}
	return append(rules, line(forget{nfproto(), aliveSet}, remember{mark.Own}, drop()))
}
