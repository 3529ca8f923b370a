package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// link is a device of the router.
func (h *home) link(t *testing.T, name string) netlink.Link {
	t.Helper()
	link, err := h.Router.Handle().LinkByName(name)
	ok(t, err)
	return link
}

// rename gives a device of the router another name. A kernel before 6.2 renames
// only what is down, and that takes its IPv6 addresses.
func (h *home) rename(t *testing.T, from, to string) {
	t.Helper()
	link := h.link(t, from)
	ok(t, h.Router.Handle().LinkSetDown(link))
	ok(t, h.Router.Handle().LinkSetName(link, to))
	ok(t, h.Router.Handle().LinkSetUp(link))
	ok(t, h.Router.Addr(to, netip.PrefixFrom(h.At.RouterLAN.V6, 64)))
}

func (h *home) removeAddr(t *testing.T, dev string, prefix netip.Prefix) {
	t.Helper()
	addr, err := netlink.ParseAddr(prefix.String())
	ok(t, err)
	ok(t, h.Router.Handle().AddrDel(h.link(t, dev), addr))
}

func TestALANDeviceIsServedWhereverItsNameIs(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Default: "node"})
	laptop, web := h.Clients["laptop"], h.At.Foreign.V4
	through := func(want path) func() bool { return func() bool { return h.isPath(laptop, web, want) } }

	h.heals(t, "renaming the bridge", func() { h.rename(t, lab.LAN, "br-old") }, through(byKernel))
	h.heals(t, "renaming it back", func() { h.rename(t, "br-old", lab.LAN) }, through(byNode))
	h.heals(t, "making the bridge anew", func() {
		ok(t, h.Router.Delete(lab.LAN))
		mac := net.HardwareAddr{2, 0, 0, 0, 0x77, 0xff}
		ok(t, nstest.Bridge(nstest.End{NS: h.Router, Dev: lab.LAN, MAC: mac}, "lan1", "lan2"))
		ok(t, h.Router.Addr(lab.LAN, netip.PrefixFrom(h.At.RouterLAN.V4, 24)))
		ok(t, h.Router.Addr(lab.LAN, netip.PrefixFrom(h.At.RouterLAN.V6, 64)))
	}, through(byNode))
	eachFamily(t, func(t *testing.T, f family) {
		h.wantPath(t, laptop, h.address(t, laptop, "www.foreign.example", f), byNode)
	})
}

// caller is whom a whoami server sees of a client, soon or not at all.
func (h *home) caller(c *lab.Client, to netip.AddrPort) netip.Addr {
	ctx, cancel := context.WithTimeout(h.t.Context(), 100*time.Millisecond)
	defer cancel()
	conn, err := c.DialTCP(ctx, to)
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
	text, _ := io.ReadAll(conn)
	seen, _ := netip.ParseAddrPort(string(text))
	return seen.Addr()
}

func TestAHomePrefixThatComesIsNotDivertedAndOneThatGoesIs(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Default: "node"})
	laptop, tv := h.Clients["laptop"], h.Clients["tv"]
	for _, family := range []string{"ipv4", "ipv6"} { // or it learns the short way to the tv by itself
		for _, dev := range []string{"all", laptop.Dev} {
			ok(t, laptop.NS.SetSysctl("net."+family+".conf."+dev+".accept_redirects", "0"))
		}
	}
	for _, n := range []struct {
		router, host netip.Prefix
		from         netip.Addr
	}{
		{netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("10.9.0.5/24"), laptop.Addr4},
		{netip.MustParsePrefix("2001:db8:9::1/64"), netip.MustParsePrefix("2001:db8:9::5/64"), laptop.Addr6},
	} {
		ok(t, tv.NS.Addr(tv.Dev, n.host))
		host := at(n.host.Addr(), testPort)
		h.listen(t, tv.NS, host, whoami)
		h.heals(t, "a new prefix", func() { ok(t, h.Router.Addr(lab.LAN, n.router)) },
			func() bool { return h.caller(laptop, host) == n.from })
		began := len(h.NodeLog())
		diverted := func() bool {
			h.caller(laptop, host)
			return slices.ContainsFunc(h.NodeLog()[began:], func(v lab.Visit) bool { return strings.Contains(v.Target, n.host.Addr().String()) })
		}
		if diverted() {
			t.Errorf("a flow to %s was diverted, want it at home", host)
		}
		h.heals(t, "the end of a prefix", func() { h.removeAddr(t, lab.LAN, n.router) }, diverted)
	}
}

func TestAnotherWANAddressIsUsedAtOnce(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop, v4 := h.Clients["laptop"], families[0]
	fake := h.address(t, laptop, "www.foreign.example", v4)
	direct := h.address(t, laptop, "www.domestic.example", v4)
	h.wantPath(t, laptop, fake, byNode)

	next := netip.MustParsePrefix("203.0.113.9/24")
	h.heals(t, "a change of the WAN's address", func() {
		h.removeAddr(t, lab.WAN, netip.PrefixFrom(h.At.RouterWAN.V4, 24))
		ok(t, h.Router.Addr(lab.WAN, next))
		ok(t, h.Router.Route(netip.MustParsePrefix("0.0.0.0/0"), h.At.Gateway.V4))
		h.At.RouterWAN.V4 = next.Addr()
	}, func() bool { return h.isPath(laptop, fake, byNode) && h.isPath(laptop, direct, byKernel) })
	h.wantPath(t, laptop, fake, byNode)
}

// A kept connection of the old address would be waited for in vain: whoever asks
// next would see that.
func TestTheFirstQuestionAfterAnotherWANAddressIsAnsweredAtOnce(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	tv := h.Clients["tv"] // real addresses, of the remote upstream
	ask := func(name string) time.Duration {
		t.Helper()
		began := time.Now()
		h.address(t, tv, name, families[0])
		return time.Since(began)
	}
	ask("one.foreign.example")
	next := netip.MustParsePrefix("203.0.113.9/24")
	h.removeAddr(t, lab.WAN, netip.PrefixFrom(h.At.RouterWAN.V4, 24))
	ok(t, h.Router.Addr(lab.WAN, next))
	ok(t, h.Router.Route(netip.MustParsePrefix("0.0.0.0/0"), h.At.Gateway.V4))
	took := ask("two.foreign.example")
	t.Logf("the first question took %v", took)
	if took > healTime {
		t.Errorf("the first question took %v, want less than %v", took, healTime)
	}
}
