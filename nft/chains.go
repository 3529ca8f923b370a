package nft

import (
	"net/netip"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/mark"
)

func line(steps ...statement) rule { return rule{steps: steps} }

func rules(rules ...rule) []rule { return rules }

// Conditions and steps that several chains share.

func transports() isOneOf { return isOneOf{l4proto(), inetProto(), []value{tcp(), udp()}} }

func toPort(p uint16) is { return is{targetPort(), portValue(p)} }

func beating() in { return in{field: nfproto(), set: aliveSet} }

func ours() value { return markValue(mark.Mask) }

func noMark() value { return value{"0", make([]byte, 4)} }

func toListener(f family, port uint16) tproxy {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if f.size != 4 {
		loopback = netip.IPv6Loopback()
	}
	return tproxy{f, netip.AddrPortFrom(loopback, port)}
}

func (c Config) fakeRange(f family) netip.Prefix {
	if f.size == 4 {
		return c.Fake4.Masked()
	}
	return c.Fake6.Masked()
}

// relay takes a new flow that the daemon must carry. tproxy stands before the
// mark: without a listener the rule breaks off, and what follows is the fail policy.
func (c Config) relay() []rule {
	var rules []rule
	for _, f := range families() {
		tuple := concat(source(f), udpPort("sport", 0), target(f), udpPort("dport", 2))
		rules = append(rules, line(in{field: tuple, set: handbackSet + f.suffix()}, goTo(directChain)))
	}
	rules = append(rules, c.askZones()...)
	for _, f := range families() {
		rules = append(rules, line(beating(), transports(), toListener(f, GatewayPort), goTo("taken")))
	}
	if c.Closed {
		return append(rules, line(goTo(refuseChain)))
	}
	for _, f := range families() {
		rules = append(rules, line(within{originalTarget(f), c.fakeRange(f)}, goTo(refuseChain)))
	}
	return append(rules,
		line(is{l4proto(), tcp()}, goTo(directChain)),
		line(accept()))
}

// relayed takes a flow that the daemon already carries: it or nobody, because
// the flow's conntrack entry has no source NAT. The heartbeat is not asked.
func relayed() []rule {
	var rules []rule
	for _, f := range families() {
		rules = append(rules, line(transports(), toPort(dnsPort), toListener(f, DNSPort), goTo("taken")))
	}
	for _, f := range families() {
		rules = append(rules, line(transports(), toListener(f, GatewayPort), goTo("taken")))
	}
	return append(rules, line(goTo(refuseChain)))
}

// dns takes a new question. One to the router itself gets no flow mark, so that
// the router's own resolver may answer the same pair of ports later.
func (c Config) dns() []rule {
	rules := c.askAboutQuestion()
	for _, f := range families() {
		rules = append(rules, line(beating(), is{fibTarget(), local()}, transports(), toListener(f, DNSPort), setMark{mark.Carried}, accept()))
	}
	for _, f := range families() {
		rules = append(rules, line(beating(), transports(), toListener(f, DNSPort), goTo("taken")))
	}
	if c.Closed {
		return append(rules, line(goTo(refuseChain)))
	}
	return append(rules, line(accept()))
}

// fake takes a flow to a fake address, refused if nothing stands for it.
func (c Config) fake() []rule {
	var rules []rule
	for _, f := range families() {
		for _, w := range standable(c.Interfaces) {
			rules = append(rules, line(in{field: originalTarget(f), set: fakeWayName(f, w)}, goTo(w.chain())))
		}
		rules = append(rules, line(inBlock(f), goTo(relayChain)))
	}
	return append(rules, line(goTo(refuseChain)))
}

// group says what becomes of the first packet of a client of the group.
func (c Config) group(i int, g Group) []rule {
	if g.Mode == policy.Off {
		return append(c.fakes(refuseChain), line(accept()))
	}
	rules := append(rules(line(transports(), toPort(dnsPort), goTo("dns"))), c.fakes("fake")...)
	if c.RefuseIPv6 {
		rules = append(rules, line(is{nfproto(), v6().proto}, goTo(refuseChain)))
	}
	if g.RefuseDoT {
		rules = append(rules, line(transports(), toPort(dotPort), goTo(refuseChain)))
	}
	if g.RefuseDoH {
		rules = append(rules, refuseDoH()...)
	}
	if !g.asksAddresses() {
		return append(rules, line(goTo(directChain)))
	}
	rules = append(rules, line(jumpTo(waysName(i))))
	if !c.Closed {
		rules = append(rules, line(opensNone(), goTo(directChain))) // from before us
	}
	return append(rules, line(goTo(relayChain)))
}

// refuseDoH refuses HTTPS, over TCP and QUIC, to addresses of known resolvers: a
// client that asks one by its address need not tell a name that could be sniffed.
func refuseDoH() []rule {
	var rules []rule
	for _, f := range families() {
		rules = append(rules, line(transports(), toPort(dohPort), in{field: target(f), set: dohSet + f.suffix()}, goTo(refuseChain)))
	}
	return rules
}

// ways comes back with flows that must be relayed. What a name taught comes
// before what the address tells by itself.
func (c Config) ways(i int, g Group) []rule {
	var rules []rule
	if g.hasWays() {
		rules = c.learned(i)
	}
	for _, f := range families() {
		if s, ok := g.addressMap(f); ok {
			rules = append(rules, line(lookUp{target(f), s.name}))
		}
	}
	if g.Rest == RestDirect {
		return append(rules, line(goTo(directChain)))
	}
	return rules
}

// learned looks a flow's address up among those that names taught.
func (c Config) learned(group int) []rule {
	var rules []rule
	for _, f := range families() {
		for _, w := range learnable(c.Interfaces) {
			rules = append(rules, line(in{field: target(f), set: wayName(f, group, w)}, w.verdict()))
		}
	}
	return rules
}

// fakes sends flows to fake addresses elsewhere.
func (c Config) fakes(chain string) []rule {
	var rules []rule
	for _, f := range families() {
		rules = append(rules, line(within{originalTarget(f), c.fakeRange(f)}, goTo(chain)))
	}
	return rules
}

// clients finds the client's group: the first section that knows it by any list.
func (c Config) clients() []rule {
	var rules []rule
	for i, m := range c.Members {
		group := goTo(groupName(m.Group))
		rules = append(rules, line(in{field: sourceMAC(), set: memberName(i, "mac")}, group))
		for _, f := range families() {
			rules = append(rules, line(in{field: source(f), set: memberName(i, f.suffix())}, group))
		}
		if len(m.Devices) > 0 {
			rules = append(rules, line(in{field: iifname(), set: memberName(i, "if")}, group))
		}
	}
	return append(rules, line(goTo(groupName(0))))
}

// classify sees the first packet of a LAN flow. Port 53 and fake addresses are
// looked for before anything is let go: a question is never too near to divert.
func (c Config) classify() []rule {
	rules := rules(
		line(isNot{metaMark().and(ours()), noMark()}, accept()),
		line(isNot{ctMark().and(ours()), noMark()}, goTo(refuseChain)), // its interface is gone, and its NAT leads nowhere else
		line(transports(), toPort(dnsPort), is{fibTarget(), local()}, goTo("clients")))
	for _, f := range families() {
		rules = append(rules, line(within{target(f), c.fakeRange(f)}, goTo("clients")))
	}
	for _, f := range families() {
		rules = append(rules, line(has{ctStatus(), dnat()}, within{originalTarget(f), c.fakeRange(f)}, goTo("clients")))
	}
	rules = append(rules,
		line(has{ctStatus(), dnat()}, accept()),
		line(transports(), toPort(dnsPort), goTo("clients")),
		line(isOneOf{fibTarget(), addrType(), []value{local(), broadcast(), anycast(), multicast()}}, accept()))
	for _, f := range families() {
		rules = append(rules, line(in{field: target(f), set: homeSet + f.suffix()}, accept()))
	}
	return append(rules,
		line(opensNone(), is{transparent(), byteValue("1", 1)}, goTo("taken")), // the daemon carries it
		line(goTo("clients")))
}

// opensNone tells TCP segments in the middle of a flow. That of one from before
// us is reset where the table is closed, and else leaves directly, but not before
// its address was looked up: the kernel forgets the flows of an interface that
// goes, and they must not go on by the WAN.
func opensNone() isNot {
	const fin, syn, rst, ack = 0x01, 0x02, 0x04, 0x10 // RFC 9293 section 3.1
	return isNot{tcpFlags().and(byteValue("(fin | syn | rst | ack)", fin|syn|rst|ack)), byteValue("syn", syn)}
}

// divert is the hot path: an established direct flow meets the first two rules only.
func (c Config) divert() []rule {
	elsewhere := accept()
	if c.divertsRouter() {
		elsewhere = goTo("outside")
	}
	verdicts := append([]element{
		leads(markValue(mark.Carried), goTo("relayed")),
		leads(markValue(mark.Own), accept()),
	}, c.interfaceVerdicts()...)
	return rules(
		line(in{field: iifname(), not: true, set: lanSet}, elsewhere),
		line(branch{ctMark().and(ours()), markType(), verdicts}),
		line(is{ctDirection(), reply()}, accept()),
		line(goTo("classify")))
}

// spoof marks flows that begin with a datagram of the daemon from an address
// that is not the router's: a late answer to a client, or one that is handed back.
func spoof() []rule {
	return rules(
		line(in{field: oifname(), set: lanSet}, remember{mark.Carried}, accept()),
		line(remember{mark.Own}, accept()))
}

// out keys on the foreign source address: a mark on the daemon's sockets would
// mark the entries of clients again.
func out() []rule {
	return rules(line(
		has{ctState(), newState()}, is{ctDirection(), original()},
		isNot{fibSource(), local()}, is{l4proto(), udp()}, goTo("spoof")))
}

// chains of an interface take a new flow that leaves there, and give the later
// packets of one their mark. Its answers get none: it would send them back.
func (i Interface) chains() []chain {
	return []chain{
		{name: i.wayChain(), rules: rules(line(remember{i.mark()}, setMark{i.mark()}, accept()))},
		{name: i.restoreChain(), rules: rules(line(is{ctDirection(), original()}, setMark{i.mark()}, accept()))},
	}
}

// interfaceVerdicts lead flows that leave through interfaces.
func (c Config) interfaceVerdicts() []element {
	var verdicts []element
	for _, i := range c.Interfaces {
		verdicts = append(verdicts, leads(markValue(i.mark()), goTo(i.restoreChain())))
	}
	return verdicts
}

// fakenat puts the real address in the place of a fake one that leads to an interface.
func (c Config) fakenat() []rule {
	var rules []rule
	for _, f := range families() {
		rules = append(rules, line(within{target(f), c.fakeRange(f)}, redirect{f, fakeRealSet + f.suffix()}))
	}
	return rules
}

func (c Config) post() []rule {
	var rules []rule
	for _, i := range c.Interfaces {
		if i.Masq {
			rules = append(rules, line(is{metaMark().and(ours()), markValue(i.mark())}, is{oifname(), deviceValue(i.Device)}, masquerade{}))
		}
	}
	return rules
}
