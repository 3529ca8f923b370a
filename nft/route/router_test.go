package route_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/gateway/tproxy"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/mark"
	"github.com/fairlead/fairlead/nft/nstest"
)

// near is a host of a network that the router is connected to.
var (
	near4 = netip.MustParseAddr("203.0.113.9")
	near6 = netip.MustParseAddr("2001:db8:f::9")
)

// newRouterWorld is a world whose router's own traffic is diverted.
func newRouterWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.config.Router, w.routes.Router = true, true
	w.must(w.table.Reload(w.build()))
	w.apply()
	return w
}

// listeners are those of a daemon that says which flow it has.
type listeners struct {
	*world
	open []interface{ Close() error }
}

func (w *world) listen() *listeners {
	w.Helper()
	l := &listeners{world: w}
	w.Cleanup(l.close)
	for _, loopback := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()} {
		for who, port := range map[string]uint16{"gateway": nft.GatewayPort, "dns": nft.DNSPort} {
			l.serveAt(netip.AddrPortFrom(loopback, port), who)
		}
	}
	w.must(w.table.Beat())
	return l
}

func (l *listeners) serveAt(at netip.AddrPort, who string) {
	l.Helper()
	var streams *net.TCPListener
	var datagrams *tproxy.UDPListener
	var sender *tproxy.Sender
	l.must(l.router.Do(func() (err error) {
		if streams, err = tproxy.ListenTCP(context.Background(), at); err != nil {
			return err
		}
		if datagrams, err = tproxy.ListenUDP(context.Background(), at); err != nil {
			return err
		}
		sender, err = tproxy.NewSender()
		return err
	}))
	l.open = append(l.open, streams, datagrams, sender)
	go func() {
		for {
			c, err := streams.AcceptTCP()
			if err != nil {
				return
			}
			client, dialled := tproxy.Endpoints(c)
			fmt.Fprintf(c, "%s takes %s of %s", who, dialled.Addr(), client.Addr())
			c.Close()
		}
	}()
	go func() {
		for {
			payload, client, dialled, err := datagrams.Read()
			if err != nil {
				return
			}
			answer := fmt.Appendf(nil, "%s %s takes %s of %s", payload, who, dialled.Addr(), client.Addr())
			if err := sender.Send(answer, dialled, client); err != nil {
				l.Errorf("answering %s: %v", client, err)
			}
		}
	}()
}

// close is what kill -9 does: the listeners go, the table stays.
func (l *listeners) close() {
	for _, c := range l.open {
		c.Close()
	}
	l.open = nil
}

// isTaken checks that the daemon has the router's flows to an address.
func (w *world) isTaken(when string, to, by netip.Addr) {
	w.Helper()
	w.sees(when, w.router, to, fmt.Sprintf("gateway takes %s of %s", to, by))
}

// The router's own addresses on the WAN.
var (
	wan4 = netip.MustParseAddr("203.0.113.1")
	wan6 = netip.MustParseAddr("2001:db8:f::1")
)

func TestTheRoutersOwnFlowsAreLeftAloneUnlessAsked(t *testing.T) {
	w := newWorld(t)
	w.listen()
	w.sees("without the option", w.router, server4, "wan sees 203.0.113.1")
	w.sees("without the option", w.router, server6, "wan sees 2001:db8:f::1")
}

func TestTheRoutersOwnFlowsReachTheDaemon(t *testing.T) {
	w := newRouterWorld(t)
	w.listen()
	for range 3 { // later datagrams of a flow take the same way
		w.isTaken("with a daemon", server4, wan4)
		w.isTaken("with a daemon", server6, wan6)
	}
	w.must(w.table.Beat())
	for to, by := range map[netip.Addr]netip.Addr{server4: wan4, server6: wan6, near4: wan4, near6: wan6} {
		want := fmt.Sprintf("dns takes %s of %s", to, by)
		for _, network := range []string{"tcp", "udp"} {
			if got := w.ask(w.router, network, netip.AddrPortFrom(to, 53)); got != want {
				t.Errorf("the router asks the resolver %s over %s and is answered %q, want %q", to, network, got, want)
			}
		}
	}
}

func TestLaterDatagramsOfTheRouterStayWithTheDaemon(t *testing.T) {
	w := newRouterWorld(t)
	w.listen()
	w.beat()
	for server, own := range map[netip.Addr]netip.Addr{server4: wan4, server6: wan6} {
		c, err := w.router.ListenUDP(netip.AddrPortFrom(own, 4000))
		w.must(err)
		defer c.Close()
		w.exchange(c, netip.AddrPortFrom(server, udpPort), 0, 500, fmt.Sprintf("gateway takes %s of %s", server, own))
	}
}

func TestSocketsOfTheDaemonAndNearAddressesAreNotDiverted(t *testing.T) {
	w := newRouterWorld(t)
	w.listen()
	for server, own := range map[netip.Addr]netip.Addr{server4: wan4, server6: wan6} {
		want := fmt.Sprintf("wan sees %s", own)
		if got := w.askMarked(netip.AddrPortFrom(server, tcpPort)); got != want {
			t.Errorf("the daemon connects to %s and is answered %q, want %q", server, got, want)
		}
	}
	w.serveMore(w.wan, near4, near6)
	for _, a := range []netip.Addr{near4, near6} {
		by := map[bool]string{true: wan4.String(), false: wan6.String()}[a.Is4()]
		w.sees("with a daemon", w.router, a, "wan sees "+by)
	}
	w.serveMore(w.router, netip.MustParseAddr("127.0.0.1"), wan4, wan6)
	for _, a := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), wan4, wan6} {
		w.sees("with a daemon", w.router, a, "router sees "+a.String())
	}
}

// serveMore answers at addresses that a namespace has already.
func (w *world) serveMore(ns *nstest.NS, addrs ...netip.Addr) {
	w.Helper()
	for _, a := range addrs {
		w.answerAt(ns, a)
	}
}

// askMarked connects as the daemon does.
func (w *world) askMarked(to netip.AddrPort) string {
	w.Helper()
	dialer := net.Dialer{Timeout: deadline, Control: func(_, _ string, c syscall.RawConn) (err error) {
		outer := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark.Own))
		})
		if outer != nil {
			return outer
		}
		return err
	}}
	dialer.SetMultipathTCP(false)
	var c net.Conn
	err := w.router.Do(func() (err error) {
		c, err = dialer.Dial("tcp", to.String())
		return err
	})
	if err != nil {
		return reason(err)
	}
	return readAll(c)
}

func TestWaysOfAddressesHoldForTheRouterToo(t *testing.T) {
	w := newRouterWorld(t)
	w.secondWAN()
	w.config.Groups[0].Addrs = []nft.AddrWay{
		{Prefix: netip.PrefixFrom(server4, 32), Way: nft.InterfaceWay(3)},
		{Prefix: netip.PrefixFrom(server6, 128), Way: nft.InterfaceWay(3)},
	}
	w.must(w.table.Reload(w.build()))
	w.apply()
	w.listen()
	w.sees("by address", w.router, server4, "vpn sees "+tunnel4.String())
	w.sees("by address", w.router, server6, "vpn sees "+tunnel6.String())
	w.sees("by address", w.client, server4, "vpn sees "+tunnel4.String())
	for _, a := range servers {
		w.must(w.table.SetWay(0, a, nft.DirectWay, time.Hour))
	}
	w.sees("by name", w.router, server4, "wan sees 203.0.113.1")
	w.sees("by name", w.router, server6, "wan sees 2001:db8:f::1")
	for _, a := range servers {
		w.must(w.table.SetWay(0, a, nft.Relay, time.Hour))
	}
	w.must(w.table.Beat())
	w.isTaken("by name, relayed", server4, wan4)
	w.isTaken("by name, relayed", server6, wan6)
	for _, a := range servers {
		w.must(w.table.SetWay(0, a, nft.Refuse, time.Hour))
		w.sees("by name, refused", w.router, a, "refused")
	}
}

func TestARouterOfAGroupThatIsOffIsLeftAlone(t *testing.T) {
	w := newRouterWorld(t)
	w.config.Groups = append(w.config.Groups, nft.Group{Mode: policy.Off})
	w.config.RouterGroup = 1
	w.must(w.table.Reload(w.build()))
	w.listen()
	w.sees("as a client that is off", w.router, server4, "wan sees 203.0.113.1")
}

func TestWithTheDaemonDeadTheRoutersFlowsLeaveDirectly(t *testing.T) {
	w := newRouterWorld(t)
	l := w.listen()
	w.isTaken("with a daemon", server4, wan4)
	w.must(w.table.Beat())
	l.close()
	// The first flow loses its first packet, and nothing else.
	if got := w.ask(w.router, "tcp", netip.AddrPortFrom(server4, tcpPort)); got != "wan sees 203.0.113.1" {
		t.Errorf("the router's first flow is answered %q, want it to be direct", got)
	}
	w.sees("after the first flow", w.router, server4, "wan sees 203.0.113.1") // a datagram is not sent twice
	w.listen()
	w.isTaken("with the daemon back", server4, wan4)
}

func TestWithTheDaemonDeadAndClosedTheRoutersFlowsAreRefused(t *testing.T) {
	w := newRouterWorld(t)
	w.config.Closed = true
	w.must(w.table.Reload(w.build()))
	l := w.listen()
	w.isTaken("with a daemon", server4, wan4)
	l.close()
	for _, a := range servers {
		if got := w.ask(w.router, "tcp", netip.AddrPortFrom(a, tcpPort)); got != "refused" {
			t.Errorf("the router's first flow to %s is answered %q, want it refused", a, got)
		}
		w.sees("after the first flow", w.router, a, "refused")
	}
}
