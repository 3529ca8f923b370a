package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/fairlead/fairlead/nft/nstest"
)

// Pair is a host's two addresses.
type Pair struct{ V4, V6 netip.Addr }

// Of is the address of the same family as a.
func (p Pair) Of(a netip.Addr) netip.Addr {
	if a.Is4() {
		return p.V4
	}
	return p.V6
}

// Is tells whether a is one of the two.
func (p Pair) Is(a netip.Addr) bool { return a == p.V4 || a == p.V6 }

// Addresses is who lives where.
type Addresses struct {
	RouterLAN Pair
	RouterWAN Pair
	Gateway   Pair // the ISP's router
	ISP       Pair // the ISP's resolver
	Public    Pair // a public resolver; the ISP answers in its place
	Poison    Pair // what the ISP answers for foreign names; a web server too
	Node      Pair // the SOCKS5 node
	Honest    Pair // the honest resolver, reached from the node only
	Domestic  Pair // web server of domestic.example
	Foreign   Pair // web server of foreign.example and of all names not said otherwise
	Shared    Pair // web server of cdn.domestic.example and cdn.foreign.example
	Blocked   Pair // web server of blocked.example
}

func addresses() Addresses {
	pair := func(v4, v6 string) Pair { return Pair{netip.MustParseAddr(v4), netip.MustParseAddr(v6)} }
	return Addresses{
		RouterLAN: pair("192.168.77.1", "2001:db8:77::1"),
		RouterWAN: pair("203.0.113.2", "2001:db8:f::2"),
		Gateway:   pair("203.0.113.1", "2001:db8:f::1"),
		ISP:       pair("203.0.113.53", "2001:db8:f::53"),
		Public:    pair("8.8.8.8", "2001:4860:4860::8888"),
		Poison:    pair("203.0.113.66", "2001:db8:f::66"),
		Node:      pair("203.0.113.80", "2001:db8:f::80"),
		Honest:    pair("192.0.2.53", "2001:db8:c0::53"),
		Domestic:  pair("198.51.100.10", "2001:db8:51::10"),
		Foreign:   pair("198.51.100.20", "2001:db8:51::20"),
		Shared:    pair("198.51.100.30", "2001:db8:51::30"),
		Blocked:   pair("198.51.100.40", "2001:db8:51::40"),
	}
}

// web is every address with web and echo servers.
func (a Addresses) web() []Pair {
	return []Pair{a.Domestic, a.Foreign, a.Shared, a.Blocked, a.Poison, a.Public}
}

// link makes the namespaces and all between them.
func (w *World) link(clients []string) error {
	if clients == nil {
		clients = []string{"laptop", "tv"}
	}
	for name, at := range map[string]**nstest.NS{"router": &w.Router, "internet": &w.Internet, "node": &w.Node} {
		ns, err := w.namespace(name)
		if err != nil {
			return err
		}
		*at = ns
	}
	steps := []func() error{w.linkInternet, w.linkRouter}
	for i, name := range clients {
		steps = append(steps, func() error { return w.addClient(i+1, name) })
	}
	for _, step := range append(steps, w.route) {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) namespace(name string) (*nstest.NS, error) {
	ns, err := nstest.New(name)
	if err != nil {
		return nil, err
	}
	w.later(ns.Close)
	return ns, nil
}

// linkInternet joins the internet, the node and the router's WAN by a bridge.
func (w *World) linkInternet() error {
	internet := func(dev string) nstest.End { return nstest.End{NS: w.Internet, Dev: dev} }
	if err := nstest.Veth(nstest.End{NS: w.Router, Dev: WAN, MAC: mac(0x0f, 2)}, internet("subscriber")); err != nil {
		return err
	}
	if err := nstest.Veth(nstest.End{NS: w.Node, Dev: "eth0", MAC: mac(0x0f, 80)}, internet("hosting")); err != nil {
		return err
	}
	if err := nstest.Bridge(nstest.End{NS: w.Internet, Dev: "isp0", MAC: mac(0x0f, 1)}, "subscriber", "hosting"); err != nil {
		return err
	}
	// The subscriber's link: these must be on the device to be found there.
	for _, host := range []Pair{w.At.Gateway, w.At.ISP, w.At.Poison} {
		if err := give(w.Internet, "isp0", host, 24, 64); err != nil {
			return err
		}
	}
	for _, host := range []Pair{w.At.Public, w.At.Domestic, w.At.Foreign, w.At.Shared, w.At.Blocked} {
		if err := give(w.Internet, "lo", host, 32, 128); err != nil {
			return err
		}
	}
	if err := give(w.Node, "eth0", w.At.Node, 24, 64); err != nil {
		return err
	}
	return give(w.Node, "lo", w.At.Honest, 32, 128)
}

func (w *World) linkRouter() error {
	if err := nstest.Bridge(nstest.End{NS: w.Router, Dev: LAN, MAC: mac(0x77, 0xff)}); err != nil {
		return err
	}
	if err := give(w.Router, WAN, w.At.RouterWAN, 24, 64); err != nil {
		return err
	}
	return give(w.Router, LAN, w.At.RouterLAN, 24, 64)
}

// route gives everyone but the clients the rest of the world. The internet
// forwards too, so that it says what it cannot reach.
func (w *World) route() error {
	for _, ns := range []*nstest.NS{w.Router, w.Internet} {
		for _, family := range []string{"ipv4", "ipv6"} {
			if err := ns.SetSysctl("net."+family+".conf.all.forwarding", "1"); err != nil {
				return err
			}
		}
	}
	for _, ns := range []*nstest.NS{w.Router, w.Node} {
		if err := defaultRoute(ns, w.At.Gateway); err != nil {
			return err
		}
	}
	// IPv6 has no NAT: the LAN's prefix is delegated to the router.
	return w.Internet.Route(netip.PrefixFrom(w.At.RouterLAN.V6, 64), w.At.RouterWAN.V6)
}

func (w *World) addClient(number int, name string) error {
	ns, err := w.namespace(name)
	if err != nil {
		return err
	}
	c := &Client{
		Name:   name,
		NS:     ns,
		Dev:    "eth0",
		MAC:    mac(0x77, byte(number)),
		Addr4:  netip.MustParseAddr(fmt.Sprintf("192.168.77.%d", 10+number)),
		Addr6:  netip.MustParseAddr(fmt.Sprintf("2001:db8:77::%d", 10+number)),
		router: w.At.RouterLAN,
	}
	port := fmt.Sprintf("lan%d", number)
	if err := nstest.Veth(nstest.End{NS: ns, Dev: c.Dev, MAC: c.MAC}, nstest.End{NS: w.Router, Dev: port}); err != nil {
		return err
	}
	if err := w.Router.Enslave(port, LAN); err != nil {
		return err
	}
	if err := give(ns, c.Dev, Pair{c.Addr4, c.Addr6}, 24, 64); err != nil {
		return err
	}
	if err := defaultRoute(ns, w.At.RouterLAN); err != nil {
		return err
	}
	w.Clients[name] = c
	return nil
}

func give(ns *nstest.NS, dev string, host Pair, bits4, bits6 int) error {
	if err := ns.Addr(dev, netip.PrefixFrom(host.V4, bits4)); err != nil {
		return err
	}
	return ns.Addr(dev, netip.PrefixFrom(host.V6, bits6))
}

func defaultRoute(ns *nstest.NS, gateway Pair) error {
	if err := ns.Route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway.V4); err != nil {
		return err
	}
	return ns.Route(netip.PrefixFrom(netip.IPv6Unspecified(), 0), gateway.V6)
}

// mac is a locally administered address.
func mac(network, host byte) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, network, host}
}
