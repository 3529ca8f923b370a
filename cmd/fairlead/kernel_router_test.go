package main

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

func TestTheRoutersOwnTrafficFollowsThePolicyOnlyIfAsked(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("option router %v", own), func(t *testing.T) {
			option := "option router '0'"
			if own {
				option = "option router '1'"
			}
			h := newHome(t, lab.Options{}, lab.Config{Main: []string{option}})
			// The router as one who asks and connects.
			router := &lab.Client{Name: "router", NS: h.Router, Addr4: h.At.RouterWAN.V4, Addr6: h.At.RouterWAN.V6}

			answer, err := router.Lookup(h.ctx(), h.At.ISP.V4, "www.foreign.example", lab.TypeA, "udp")
			ok(t, err)
			wantAnswer, want := h.At.Poison.V4, h.At.RouterWAN.V4
			if own {
				wantAnswer, want = h.At.Foreign.V4, h.At.Node.V4
			}
			if len(answer.Addrs) != 1 || answer.Addrs[0] != wantAnswer {
				t.Errorf("the router was answered %v, want %s", answer.Addrs, wantAnswer)
			}
			if got := len(h.ISPLog()) > 0; got == own {
				t.Errorf("the ISP was asked: %v, want %v", got, !own)
			}
			if got := h.seenFrom(t, router, h.At.Foreign.V4, "www.foreign.example"); got != want {
				t.Errorf("the server of a foreign name saw %s, want %s", got, want)
			}
			// Whoever forwards a client's question must not ask the daemon for ever.
			laptop := h.address(t, h.Clients["laptop"], "www.domestic.example", families[0])
			if laptop != h.At.Domestic.V4 {
				t.Errorf("a client was answered %s for a domestic name, want %s", laptop, h.At.Domestic.V4)
			}
		})
	}
}

// Its program holds the port from which a datagram must be sent again.
func TestADirectUDPFlowOfTheRouterLosesNothing(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Main: []string{"option router '1'"}})
	router := &lab.Client{Name: "router", NS: h.Router, Addr4: h.At.RouterWAN.V4, Addr6: h.At.RouterWAN.V6}
	eachFamily(t, func(t *testing.T, f family) {
		c, err := router.DialUDP(h.ctx(), at(f.of(h.At.Domestic), lab.EchoPort))
		ok(t, err)
		defer c.Close()
		for who := range echoes(t, c, 3) {
			if from, err := netip.ParseAddrPort(who); err != nil || from.Addr() != f.of(h.At.RouterWAN) {
				t.Errorf("the server saw %s, want %s", who, f.of(h.At.RouterWAN))
			}
		}
	})
	if n := h.status(t).Flows.HandedBack; n != 2 {
		t.Errorf("%d flows were handed back, want two", n)
	}
}
