package main

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// everythingToTheNode would take whatever is diverted far away.
var everythingToTheNode = lab.Config{Default: "node", Main: []string{"list device 'guest'"}}

// wantUntouched checks that nothing at all passed the daemon.
func (h *home) wantUntouched(t *testing.T) {
	t.Helper()
	h.wantIdle(t, "direct")
	h.wantIdle(t, "node")
	if lines := h.flowLines(""); len(lines) != 0 {
		t.Errorf("the daemon carried %q", lines)
	}
}

// whoami answers whoever connects with the address it sees.
func whoami(c *net.TCPConn) {
	c.Write([]byte(c.RemoteAddr().String()))
	c.Close()
}

// seenFrom connects from a namespace and gives whom the whoami server saw.
func seenFrom(t *testing.T, h *home, ns *nstest.NS, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	c, err := ns.Dial(h.ctx(), "tcp", netip.AddrPort{}, to)
	ok(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(soon))
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	ok(t, err)
	seen, err := netip.ParseAddrPort(string(buf[:n]))
	ok(t, err)
	return seen
}

func TestPortForwardsAreNotDiverted(t *testing.T) {
	h := newHome(t, lab.Options{}, everythingToTheNode)
	laptop := h.Clients["laptop"]
	ok(t, h.ForwardPort(8080, at(laptop.Addr4, testPort)))
	h.listen(t, laptop.NS, at(laptop.Addr4, testPort), whoami)
	port := at(h.At.RouterWAN.V4, 8080)

	if got := seenFrom(t, h, h.Internet, port); got.Addr() != h.At.Gateway.V4 {
		t.Errorf("through the port forward the device saw %s, want %s", got, h.At.Gateway.V4)
	}
	if got := seenFrom(t, h, h.Clients["tv"].NS, port); got.Addr() != h.At.RouterLAN.V4 {
		t.Errorf("by the hairpin the device saw %s, want the router", got)
	}
	h.wantUntouched(t)
}

// Where a redirection of the firewall leads, the firewall has decided.
func TestARedirectionToTheInternetIsNotDiverted(t *testing.T) {
	h := newHome(t, lab.Options{}, everythingToTheNode)
	ok(t, h.ForwardPort(8080, at(h.At.Foreign.V4, testPort)))
	h.listen(t, h.Internet, at(h.At.Foreign.V4, testPort), whoami)
	if got := seenFrom(t, h, h.Clients["laptop"].NS, at(h.At.RouterWAN.V4, 8080)); got.Addr() != h.At.RouterWAN.V4 {
		t.Errorf("the server saw %s, want the router", got)
	}
	h.wantUntouched(t)
}

// IPv6 needs no port forward: a device is reached by its own address, and its
// answers go to one that it would be sent to by the node.
func TestAnswersToTheInternetAreNotDiverted(t *testing.T) {
	h := newHome(t, lab.Options{}, everythingToTheNode)
	laptop := h.Clients["laptop"]
	device := h.socket(t, laptop, laptop.Addr6)
	port := netip.MustParseAddrPort(device.LocalAddr().String()).Port()
	caller, err := h.Internet.ListenUDP(at(h.At.Foreign.V6, testPort))
	ok(t, err)
	defer caller.Close()
	caller.SetDeadline(time.Now().Add(soon))

	_, err = caller.WriteToUDPAddrPort([]byte("ring"), at(laptop.Addr6, port))
	ok(t, err)
	_, from := receive(t, device)
	_, err = device.WriteToUDPAddrPort([]byte("hello"), from)
	ok(t, err)
	if text, from := receive(t, caller); text != "hello" || from != at(laptop.Addr6, port) {
		t.Errorf("the caller received %q from %s, want \"hello\" from the device it had called", text, from)
	}
	h.wantUntouched(t)
}

func TestTheHousesOwnNetworksAreNotDiverted(t *testing.T) {
	h := newHouse(t, lab.Options{})
	guest := h.guest(t, "guest")
	h.configure(h.ConfigText(everythingToTheNode))
	h.start()
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		theirs := f.of(lab.Pair{V4: guest.Addr4, V6: guest.Addr6})
		ours := f.of(lab.Pair{V4: laptop.Addr4, V6: laptop.Addr6})
		h.listen(t, guest.NS, at(theirs, testPort), whoami)
		if got := seenFrom(t, h, laptop.NS, at(theirs, testPort)); got.Addr() != ours {
			t.Errorf("in the other network of the house the laptop was seen as %s, want %s", got, ours)
		}
		// A server on the link to the ISP.
		h.wantPath(t, laptop, f.of(h.At.Poison), byKernel)
	})
	h.wantUntouched(t)
}

func TestARouterAddressIsServedByTheRouter(t *testing.T) {
	h := newHome(t, lab.Options{}, everythingToTheNode)
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		ours := f.of(lab.Pair{V4: laptop.Addr4, V6: laptop.Addr6})
		for _, router := range []netip.Addr{f.of(h.At.RouterLAN), f.of(h.At.RouterWAN)} {
			h.listen(t, h.Router, at(router, testPort), whoami)
			if got := seenFrom(t, h, laptop.NS, at(router, testPort)); got.Addr() != ours {
				t.Errorf("at %s the laptop was seen as %s, want %s", router, got, ours)
			}
		}
	})
	h.wantUntouched(t)
}

func TestTheRoutersOwnTrafficIsNotDiverted(t *testing.T) {
	h := newHome(t, lab.Options{}, everythingToTheNode)
	eachFamily(t, func(t *testing.T, f family) {
		h.listen(t, h.Internet, at(f.of(h.At.Foreign), testPort), whoami)
		if got := seenFrom(t, h, h.Router, at(f.of(h.At.Foreign), testPort)); got.Addr() != f.of(h.At.RouterWAN) {
			t.Errorf("the router was seen as %s, want %s", got, f.of(h.At.RouterWAN))
		}
	})
	h.wantUntouched(t)
}

// The control of all of the above: the same configuration diverts the rest.
func TestWhatIsNotExceptedIsDiverted(t *testing.T) {
	h := newHome(t, lab.Options{}, everythingToTheNode)
	eachFamily(t, func(t *testing.T, f family) {
		h.wantPath(t, h.Clients["laptop"], f.of(h.At.Foreign), byNode)
	})
}
