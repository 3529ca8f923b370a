package route_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/nstest"
	"github.com/fairlead/fairlead/nft/route"
)

const deadline = 10 * time.Second // of whatever is waited for

// A server that is behind the WAN and behind the second way out: which of them
// answers tells where a flow went.
var (
	server4 = netip.MustParseAddr("198.51.100.7")
	server6 = netip.MustParseAddr("2001:db8:51::7")
	servers = []netip.Addr{server4, server6}
)

// The ports that the servers answer at.
const (
	tcpPort = 80
	udpPort = 443
)

// world is a client behind a router with two ways out. Neither of them knows a
// way back to the client: only what is masqueraded gets an answer.
type world struct {
	*testing.T
	client, router, wan, vpn *nstest.NS
	config                   nft.Config
	routes                   route.Config
	table                    *nft.Table
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, client: namespace(t, "client"), router: namespace(t, "router"), wan: namespace(t, "wan"), vpn: namespace(t, "vpn")}
	w.cable(w.router, "lan0", w.client, "192.168.77.1/24 192.168.77.2/24", "2001:db8:77::1/64 2001:db8:77::2/64")
	w.cable(w.router, "wan0", w.wan, "203.0.113.1/24 203.0.113.9/24", "2001:db8:f::1/64 2001:db8:f::9/64")
	for key, value := range map[string]string{
		"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1",
		"net.ipv4.icmp_ratelimit": "0", "net.ipv6.icmp.ratelimit": "0", // each refusal is told at once
	} {
		w.must(w.router.SetSysctl(key, value))
	}
	w.defaults(w.client, "192.168.77.1", "2001:db8:77::1")
	w.defaults(w.router, "203.0.113.9", "2001:db8:f::9")
	w.must(masquerade(w.router, "wan0"))
	for _, ns := range []*nstest.NS{w.wan, w.vpn} {
		w.serve(ns)
	}
	w.config = nft.Config{
		LAN:        []string{"lan0"},
		Home:       prefixes("192.168.77.0/24", "203.0.113.0/24", "2001:db8:77::/64", "2001:db8:f::/64", "fe80::/10"),
		Fake4:      netip.MustParsePrefix("198.18.0.0/15"),
		Fake6:      netip.MustParsePrefix("2001:2::/64"),
		Interfaces: []nft.Interface{{N: 3, Device: "vpn0", Masq: true}},
		Groups:     []nft.Group{{Mode: policy.RealIP, Rest: nft.RestRelay}},
	}
	w.routes = route.Config{
		Fake4: w.config.Fake4, Fake6: w.config.Fake6, Interfaces: []route.Interface{{N: 3, Device: "vpn0"}},
		LAN: map[string][]netip.Prefix{"lan0": prefixes("192.168.77.0/24", "2001:db8:77::/64")},
	}
	w.apply()
	w.install()
	return w
}

func namespace(t *testing.T, name string) *nstest.NS {
	t.Helper()
	n, err := nstest.New(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// cable links a device of one namespace with eth0 of another. The addresses of
// each family are those of this end and of that one.
func (w *world) cable(here *nstest.NS, dev string, there *nstest.NS, addrs ...string) {
	w.Helper()
	w.must(nstest.Veth(nstest.End{NS: here, Dev: dev}, nstest.End{NS: there, Dev: "eth0"}))
	for _, pair := range addrs {
		var a, b string
		fmt.Sscan(pair, &a, &b)
		w.must(here.Addr(dev, netip.MustParsePrefix(a)))
		w.must(there.Addr("eth0", netip.MustParsePrefix(b)))
	}
}

func (w *world) defaults(ns *nstest.NS, gateway4, gateway6 string) {
	w.Helper()
	w.must(ns.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(gateway4)))
	w.must(ns.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr(gateway6)))
}

// apply makes the routes as they are with the devices of now.
func (w *world) apply() {
	w.Helper()
	w.must(w.router.Do(func() error { _, err := route.Apply(w.routes); return err }))
}

func (w *world) install() {
	w.Helper()
	table, err := nft.Open(nft.Options{NetNS: w.router.Fd()})
	w.must(err)
	w.Cleanup(func() { table.Close() })
	w.table = table
	w.must(table.Install(w.build(), nil))
}

func (w *world) build() *nft.Ruleset {
	w.Helper()
	rs, err := nft.Build(w.config)
	w.must(err)
	return rs
}

// masquerade is what the router's firewall does for what leaves by a device.
func masquerade(ns *nstest.NS, dev string) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns.Fd()))
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "srcnat", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	device := make([]byte, unix.IFNAMSIZ)
	copy(device, dev)
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: device},
		&expr.Masq{},
	}})
	return conn.Flush()
}

// serve answers at the addresses of the servers with who it is and whom it sees.
func (w *world) serve(ns *nstest.NS) {
	w.Helper()
	for _, a := range servers {
		w.must(ns.Addr("lo", netip.PrefixFrom(a, a.BitLen())))
		w.answerAt(ns, a)
	}
}

func (w *world) answerAt(ns *nstest.NS, a netip.Addr) {
	w.Helper()
	streams, err := ns.ListenTCP(netip.AddrPortFrom(a, tcpPort))
	w.must(err)
	datagrams, err := ns.ListenUDP(netip.AddrPortFrom(a, udpPort))
	w.must(err)
	w.Cleanup(func() { streams.Close(); datagrams.Close() })
	go answerStreams(streams, ns.Name())
	go answerDatagrams(datagrams, ns.Name())
}

func answerStreams(l net.Listener, who string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "%s sees %s", who, host(c.RemoteAddr()))
		c.Close()
	}
}

func answerDatagrams(c *net.UDPConn, who string) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		c.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %s sees %s", buf[:n], who, from.Addr()), from)
	}
}

func host(a net.Addr) netip.Addr { return netip.MustParseAddrPort(a.String()).Addr() }

// ask connects from a namespace and gives back what it is answered, or why not.
func (w *world) ask(from *nstest.NS, network string, to netip.AddrPort) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c, err := from.Dial(ctx, network, netip.AddrPort{}, to)
	if err != nil {
		return reason(err)
	}
	if network == "udp" {
		return askDatagram(c)
	}
	return readAll(c)
}

func readAll(c net.Conn) string {
	defer c.Close()
	c.SetDeadline(time.Now().Add(deadline))
	answer, err := io.ReadAll(c)
	if err != nil {
		return reason(err)
	}
	return string(answer)
}

func askDatagram(c net.Conn) string {
	defer c.Close()
	c.SetDeadline(time.Now().Add(deadline))
	if _, err := c.Write([]byte("hello")); err != nil {
		return reason(err)
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		return reason(err)
	}
	return string(buf[len("hello "):max(n, len("hello "))])
}

// send sends a datagram that need not be answered.
func (w *world) send(from *nstest.NS, to netip.AddrPort) {
	w.Helper()
	c, err := from.Dial(context.Background(), "udp", netip.AddrPort{}, to)
	w.must(err)
	defer c.Close()
	c.Write([]byte("hello"))
}

func reason(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "silence"
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EPERM): // by a packet, or while sending
		return "refused"
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return "unreachable"
	}
	return err.Error()
}

// sees checks what a client is answered by TCP and UDP.
func (w *world) sees(when string, from *nstest.NS, to netip.Addr, want string) {
	w.Helper()
	for network, port := range map[string]uint16{"tcp": tcpPort, "udp": udpPort} {
		if got := w.ask(from, network, netip.AddrPortFrom(to, port)); got != want {
			w.Errorf("%s, %s asks %s %s and is answered %q, want %q", when, from.Name(), network, to, got, want)
		}
	}
}
