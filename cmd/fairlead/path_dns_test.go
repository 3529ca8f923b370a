package main

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// Lookup itself refuses an answer from another address than the one asked.
func TestEveryQuestionIsAnsweredByUsWhomeverItIsFor(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	eachFamily(t, func(t *testing.T, f family) {
		for _, server := range []netip.Addr{f.of(h.At.RouterLAN), f.of(h.At.RouterWAN), f.of(h.At.Public), f.of(h.At.ISP), f.of(h.At.Foreign)} {
			for _, network := range []string{"udp", "tcp"} {
				answer, err := h.Clients["laptop"].Lookup(h.ctx(), server, "www.foreign.example", f.qtype, network)
				if err != nil || len(answer.Addrs) != 1 || !isFake(answer.Addrs[0]) {
					t.Errorf("laptop asking %s over %s: %v, %v; want a fake address", server, network, answer.Addrs, err)
				}
				answer, err = h.Clients["tv"].Lookup(h.ctx(), server, "www.foreign.example", f.qtype, network)
				if err != nil || len(answer.Addrs) != 1 || answer.Addrs[0] != f.of(h.At.Foreign) {
					t.Errorf("tv asking %s over %s: %v, %v; want %s, which the poisoned resolvers do not tell",
						server, network, answer.Addrs, err, f.of(h.At.Foreign))
				}
			}
		}
	})
	if asked := h.ISPLog(); len(asked) != 0 {
		t.Errorf("the ISP was asked %d questions, the first for %s; want none", len(asked), asked[0].Name)
	}
}

// A device of the LAN with an address of another network of the router. So seems
// every device for a moment, while the LAN's bridge is made anew or renamed.
func TestADivertedQuestionIsAClientsWhicheverNetworkItsAddressIsOf(t *testing.T) {
	h := newHouse(t, lab.Options{})
	laptop := h.Clients["laptop"]
	router, there := netip.MustParsePrefix("192.168.99.1/24"), netip.MustParsePrefix("192.168.99.5/24")
	ok(t, h.Router.Addr(lab.WAN, router))
	ok(t, h.Router.Handle().RouteAdd(&netlink.Route{
		LinkIndex: h.link(t, lab.LAN).Attrs().Index, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: there.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)},
	}))
	ok(t, laptop.NS.Addr(laptop.Dev, there))
	h.configure(h.ConfigText(lab.Config{}))
	h.start()
	for _, network := range []string{"udp", "tcp"} {
		answer, err := laptop.Lookup(h.ctx(), router.Addr(), "www.foreign.example", lab.TypeA, network)
		if err != nil || len(answer.Addrs) != 1 || !isFake(answer.Addrs[0]) {
			t.Errorf("laptop asking from %s over %s: %v, %v; want a fake address", there, network, answer.Addrs, err)
		}
	}
	if asked := h.ISPLog(); len(asked) != 0 {
		t.Errorf("the ISP was asked %d questions, the first for %s; want none", len(asked), asked[0].Name)
	}
}

func TestADirectNameIsAnsweredByTheISPWhoeverWasAsked(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	eachFamily(t, func(t *testing.T, f family) {
		answer, err := h.Clients["laptop"].Lookup(h.ctx(), f.of(h.At.Public), "www.domestic.example", f.qtype, "udp")
		if err != nil || len(answer.Addrs) != 1 || answer.Addrs[0] != f.of(h.At.Domestic) {
			t.Errorf("got %v, %v; want %s", answer.Addrs, err, f.of(h.At.Domestic))
		}
	})
	for _, q := range h.ISPLog() {
		if q.Server.Addr() != h.At.ISP.V4 {
			t.Errorf("%s was asked of %s, want the ISP", q.Name, q.Server)
		}
	}
}

// A lab with one client whose mode is off, known by its hardware address.
func offHome(t *testing.T) (h *home, off *lab.Client) {
	h = newHouse(t, lab.Options{})
	off = h.Clients["tv"]
	h.configure(h.ConfigText(lab.Config{Default: "node", Clients: `
config client 'untouched'
	list mac '` + off.MAC.String() + `'
	option mode 'off'
`}))
	h.start()
	return h, off
}

func TestAClientThatIsOffKeepsItsDNS(t *testing.T) {
	h, off := offHome(t)
	eachFamily(t, func(t *testing.T, f family) {
		for _, server := range []netip.Addr{f.of(h.At.RouterLAN), f.of(h.At.Public)} {
			for _, network := range []string{"udp", "tcp"} {
				answer, err := off.Lookup(h.ctx(), server, "www.foreign.example", f.qtype, network)
				if err != nil || len(answer.Addrs) != 1 || answer.Addrs[0] != f.of(h.At.Poison) {
					t.Errorf("asking %s over %s: %v, %v; want what is answered without us, %s", server, network, answer.Addrs, err, f.of(h.At.Poison))
				}
			}
		}
	})
	if got := h.status(t).DNS.Queries; got != 0 {
		t.Errorf("the daemon was asked %d questions, want none", got)
	}
}

func TestAClientThatIsOffKeepsItsPackets(t *testing.T) {
	h, off := offHome(t)
	eachFamily(t, func(t *testing.T, f family) {
		h.wantPath(t, off, f.of(h.At.Foreign), byKernel)
	})
	h.wantUntouched(t)
	eachFamily(t, func(t *testing.T, f family) { // the control
		h.wantPath(t, h.Clients["laptop"], f.of(h.At.Foreign), byNode)
	})
}

func TestAFakeAddressIsRefusedToAClientThatIsOff(t *testing.T) {
	h, off := offHome(t)
	eachFamily(t, func(t *testing.T, f family) {
		fake := h.address(t, h.Clients["laptop"], "www.foreign.example", f)
		h.wantRefused(t, off, fake)
		h.wantPath(t, h.Clients["laptop"], fake, byNode)
	})
}

func TestAFakeAddressOfNoNameIsRefused(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	for _, addr := range []string{"198.19.255.1", "2001:2::ffff"} {
		h.wantRefused(t, h.Clients["laptop"], netip.MustParseAddr(addr))
	}
}
