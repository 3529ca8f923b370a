package route_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/nstest"
	"github.com/fairlead/fairlead/nft/route"
)

// The addresses of the second way out, on the router.
var (
	tunnel4 = netip.MustParseAddr("10.9.0.1")
	tunnel6 = netip.MustParseAddr("2001:db8:9::1")
)

// Fake addresses, one of each family.
var (
	fake4 = netip.MustParseAddr("198.18.0.5")
	fake6 = netip.MustParseAddr("2001:2::5")
)

// secondWAN is a link with a gateway.
func (w *world) secondWAN() {
	w.Helper()
	w.cable(w.router, "vpn0", w.vpn, "10.9.0.1/24 10.9.0.9/24", "2001:db8:9::1/64 2001:db8:9::9/64")
	w.routes.Interfaces[0].Gateway4 = netip.MustParseAddr("10.9.0.9")
	w.routes.Interfaces[0].Gateway6 = netip.MustParseAddr("2001:db8:9::9")
}

// tunnel is a link without a gateway: one that carries bare IP packets or, for
// those who may not make such a device, one on which the servers are neighbours.
func (w *world) tunnel() {
	w.Helper()
	w.routes.Interfaces[0].Gateway4, w.routes.Interfaces[0].Gateway6 = netip.Addr{}, netip.Addr{}
	if unix.Access("/dev/net/tun", unix.R_OK|unix.W_OK) != nil {
		w.cable(w.router, "vpn0", w.vpn, "10.9.0.1/24 10.9.0.9/24", "2001:db8:9::1/64 2001:db8:9::9/64")
		w.must(w.vpn.Addr("eth0", netip.PrefixFrom(server6, 128))) // neighbours are told of a device's own only
		return
	}
	here, there := w.tun(w.router, "vpn0"), w.tun(w.vpn, "eth0")
	for _, p := range prefixes("10.9.0.1/24", "2001:db8:9::1/64") {
		w.must(w.router.Addr("vpn0", p))
	}
	for _, p := range prefixes("10.9.0.9/24", "2001:db8:9::9/64") {
		w.must(w.vpn.Addr("eth0", p))
	}
	go pump(here, there)
	go pump(there, here)
}

func (w *world) tun(ns *nstest.NS, dev string) *os.File {
	w.Helper()
	var file *os.File
	w.must(ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("opening /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(dev)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return fmt.Errorf("making %s: %w", dev, err)
		}
		file = os.NewFile(uintptr(fd), dev) // only now can it be waited for
		return nil
	}))
	w.Cleanup(func() { file.Close() })
	w.must(ns.Up(dev))
	return file
}

func pump(from, to *os.File) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		to.Write(buf[:n])
	}
}

// gone deletes the second way out at both ends.
func (w *world) gone() {
	w.Helper()
	w.must(w.router.Delete("vpn0"))
	if _, err := w.vpn.Handle().LinkByName("eth0"); err == nil { // the other end of a tunnel
		w.must(w.vpn.Delete("eth0"))
	}
}

func TestAnInterfaceCarriesWhatLeadsThere(t *testing.T) {
	for name, plug := range map[string]func(*world){"second WAN": (*world).secondWAN, "tunnel": (*world).tunnel} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			plug(w)
			w.apply()
			w.sees("before anything leads there", w.client, server4, "wan sees 203.0.113.1")
			for _, a := range servers {
				w.must(w.table.SetWay(0, a, nft.InterfaceWay(3), time.Hour))
			}
			w.must(w.table.SetFake(fake4, server4, nft.InterfaceWay(3)))
			w.must(w.table.SetFake(fake6, server6, nft.InterfaceWay(3)))
			w.throughTunnel("with the device", w.client)

			w.gone()
			w.nothingLeaves("without the device")

			plug(w)
			w.apply()
			w.throughTunnel("with the device made anew", w.client)
		})
	}
}

// throughTunnel checks that real and fake addresses are answered by way of the
// second way out.
func (w *world) throughTunnel(when string, from *nstest.NS) {
	w.Helper()
	for _, a := range []netip.Addr{server4, fake4} {
		w.sees(when, from, a, "vpn sees "+tunnel4.String())
		w.answersPing(when, a)
	}
	for _, a := range []netip.Addr{server6, fake6} {
		w.sees(when, from, a, "vpn sees "+tunnel6.String())
		w.answersPing(when, a)
	}
}

// nothingLeaves checks that no packet of the client takes the WAN instead.
func (w *world) nothingLeaves(when string) {
	w.Helper()
	seen, err := nstest.Start(w.router, "wan0")
	w.must(err)
	defer seen.Close()
	for _, a := range []netip.Addr{server4, fake4, server6, fake6} {
		w.send(w.client, netip.AddrPortFrom(a, udpPort))
		w.unreachable(when, a)
	}
	packets, err := seen.Packets()
	w.must(err)
	for _, p := range packets {
		if s, ok := p.Segment(); ok && (s.Proto == nstest.TCP || s.Proto == nstest.UDP) {
			w.Errorf("%s, a packet from %s to %s is on the WAN, want none", when, s.Src, s.Dst)
		}
	}
}

// unreachable checks that a client is told so at once. Its datagrams are refused
// the same way, but a UDP socket does not hear of that.
func (w *world) unreachable(when string, to netip.Addr) {
	w.Helper()
	if got := w.ask(w.client, "tcp", netip.AddrPortFrom(to, tcpPort)); got != "unreachable" {
		w.Errorf("%s, a client that connects to %s gets %q, want unreachable", when, to, got)
	}
}

// answersPing checks that an echo request is answered from the address it was for.
func (w *world) answersPing(when string, to netip.Addr) {
	w.Helper()
	network, any, request, reply := "ip4:icmp", "0.0.0.0", byte(8), byte(0) // RFC 792
	if to.Is6() {
		network, any, request, reply = "ip6:ipv6-icmp", "::", 128, 129 // RFC 4443; the kernel puts the checksum in
	}
	var c net.PacketConn
	w.must(w.client.Do(func() (err error) {
		c, err = net.ListenPacket(network, any)
		return err
	}))
	defer c.Close()
	c.SetDeadline(time.Now().Add(deadline))
	echo := []byte{request, 0, 0, 0, 0x12, 0x34, 0, 1}
	binary.BigEndian.PutUint16(echo[2:], ^(uint16(request)<<8 + 0x1234 + 1))
	if _, err := c.WriteTo(echo, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		w.Fatal(err)
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			w.Errorf("%s, a ping to %s gives %v, want an answer", when, to, reason(err))
			return
		}
		if n >= 1 && buf[0] == reply && from.String() == to.String() {
			return
		}
	}
}

func TestALinkThatIsDownIsNoWayOut(t *testing.T) {
	w := newWorld(t)
	w.secondWAN()
	w.apply()
	w.must(w.table.SetWay(0, server4, nft.InterfaceWay(3), time.Hour))
	w.must(w.router.Down("vpn0"))
	w.apply()
	w.unreachable("with the link down", server4)
	w.must(w.router.Up("vpn0"))
	w.apply()
	w.sees("with the link up again", w.client, server4, "vpn sees 10.9.0.1")
}

func TestWithoutAnIPv6AddressTheInterfaceIsNoWayOutForIPv6(t *testing.T) {
	w := newWorld(t)
	w.cable(w.router, "vpn0", w.vpn, "10.9.0.1/24 10.9.0.9/24")
	w.apply()
	w.must(w.table.SetWay(0, server6, nft.InterfaceWay(3), time.Hour))
	w.unreachable("without an address", server6)
}

func TestAnotherGatewayReplacesTheOld(t *testing.T) {
	w := newWorld(t)
	w.secondWAN()
	w.apply()
	w.must(w.table.SetWay(0, server4, nft.InterfaceWay(3), time.Hour))
	w.routes.Interfaces[0].Gateway4 = netip.MustParseAddr("10.9.0.8") // nobody
	w.apply()
	w.unreachable("with a gateway that is not there", server4)
	w.secondGateway("10.9.0.8")
	w.sees("once it is there", w.client, server4, "vpn sees 10.9.0.1")
}

func (w *world) secondGateway(addr string) {
	w.Helper()
	w.must(w.vpn.Addr("eth0", netip.PrefixFrom(netip.MustParseAddr(addr), 24)))
}

func TestEverythingOfAnInterfaceIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.secondWAN()
	w.apply()
	for range 2 {
		w.must(w.router.Do(route.Remove))
	}
	rules, err := w.router.Handle().RuleList(unix.AF_UNSPEC)
	w.must(err)
	for _, r := range rules {
		if r.Mark != 0 {
			t.Errorf("after Remove there is the rule %v, want none of ours", r)
		}
	}
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := w.router.Handle().RouteListFiltered(f, &netlink.Route{Protocol: route.Tag}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		w.must(err)
		for _, r := range routes {
			t.Errorf("after Remove there is the route %v, want none of ours", r)
		}
	}
}

func TestAStrictReversePathFilterLetsAnswersIn(t *testing.T) {
	const all, own = "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.vpn0.rp_filter"
	for _, tt := range []struct{ all, own string }{{"1", "0"}, {"0", "1"}, {"1", "1"}} {
		t.Run("all "+tt.all+", own "+tt.own, func(t *testing.T) {
			w := newWorld(t)
			w.secondWAN()
			w.apply()
			w.must(w.router.SetSysctl(all, tt.all))
			w.must(w.router.SetSysctl(own, tt.own))
			w.must(w.table.SetWay(0, server4, nft.InterfaceWay(3), time.Hour))
			state := filepath.Join(t.TempDir(), "sysctl")
			for i, want := range []int{1, 0} { // the second time nothing is in the way
				var changed []string
				w.must(w.router.Do(func() (err error) {
					changed, err = route.AcceptAnswers(state, []string{"vpn0", "absent0"})
					return err
				}))
				if len(changed) != want {
					t.Errorf("call %d of AcceptAnswers changes %q, want %d sysctls", i+1, changed, want)
				}
			}
			w.sees("with the filter loose", w.client, server4, "vpn sees 10.9.0.1")
			w.must(w.router.Do(func() error { return route.Restore(state) }))
			if got, err := w.router.Sysctl(own); err != nil || got != tt.own {
				t.Errorf("after Restore %s is %q, %v, want %q", own, got, err, tt.own)
			}
		})
	}
}

func TestALooseOrAbsentFilterIsLeftAsItIs(t *testing.T) {
	w := newWorld(t)
	w.secondWAN()
	for _, value := range []string{"0", "2"} {
		w.must(w.router.SetSysctl("net.ipv4.conf.vpn0.rp_filter", value))
		w.must(w.router.Do(func() error {
			changed, err := route.AcceptAnswers(filepath.Join(t.TempDir(), "sysctl"), []string{"vpn0"})
			if len(changed) != 0 {
				t.Errorf("with rp_filter %s AcceptAnswers changes %q, want nothing", value, changed)
			}
			return err
		}))
	}
}

func TestAFlowThroughAnInterfaceThatGoesIsRefusedInsteadOfTakingTheWAN(t *testing.T) {
	w := newWorld(t)
	w.secondWAN()
	w.apply()
	w.must(w.table.SetWay(0, server4, nft.InterfaceWay(3), time.Hour))
	client := netip.MustParseAddrPort("192.168.77.2:4000")
	c, err := w.client.ListenUDP(client)
	w.must(err)
	defer c.Close()
	w.exchange(c, netip.AddrPortFrom(server4, udpPort), 0, 10, "vpn sees 10.9.0.1")

	seen, err := nstest.Start(w.router, "wan0")
	w.must(err)
	defer seen.Close()
	refusals, err := nstest.Start(w.router, "lan0")
	w.must(err)
	defer refusals.Close()
	w.config.Interfaces = nil
	w.must(w.table.Reload(w.build()))
	if _, err := c.WriteToUDPAddrPort([]byte("late"), netip.AddrPortFrom(server4, udpPort)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, err := refusals.Wait(ctx, func(p nstest.Packet) bool {
		s, ok := p.Segment()
		return ok && s.Proto == nstest.ICMP && p.Outgoing
	}); err != nil {
		t.Errorf("waiting for the refusal: %v", err)
	}
	packets, err := seen.Packets()
	w.must(err)
	for _, p := range packets {
		if s, ok := p.Segment(); ok && s.Proto == nstest.UDP {
			t.Errorf("a datagram from %s to %s is on the WAN, want none", s.Src, s.Dst)
		}
	}
}
