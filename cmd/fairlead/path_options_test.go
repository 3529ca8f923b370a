package main

import (
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

func TestWithoutIPv6NothingOfItIsUsed(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Main: []string{"option ipv6 '0'"}})
	capture, err := h.CaptureWAN()
	ok(t, err)
	for _, c := range h.Clients {
		for _, name := range []string{"www.domestic.example", "www.foreign.example"} {
			answer, err := c.Lookup(h.ctx(), h.At.RouterLAN.V6, name, lab.TypeAAAA, "udp")
			if err != nil || answer.RCode != lab.NoError || len(answer.Addrs) != 0 {
				t.Errorf("%s asked for %s's AAAA: code %d, %v, %v; want no data", c.Name, name, answer.RCode, answer.Addrs, err)
			}
		}
		for _, to := range []lab.Pair{h.At.Domestic, h.At.Foreign} {
			h.wantRefused(t, c, to.V6)
		}
	}
	laptop := h.Clients["laptop"]
	h.wantPath(t, laptop, h.address(t, laptop, "www.domestic.example", families[0]), byKernel)
	h.wantPath(t, laptop, h.address(t, laptop, "www.foreign.example", families[0]), byNode)

	packets, err := capture.Packets()
	ok(t, err)
	for _, p := range packets {
		s, decoded := p.Segment()
		if decoded && p.Outgoing && s.Src.Addr().Is6() && (s.Proto == nstest.TCP || s.Proto == nstest.UDP) {
			t.Errorf("IPv6 left from %s for %s", s.Src, s.Dst)
		}
	}
}

func TestDNSOverTLSOfClientsIsRefusedUnlessAllowed(t *testing.T) {
	for value, refuse := range map[string]bool{"1": true, "0": false} {
		t.Run("block_dot "+value, func(t *testing.T) {
			h := newHome(t, lab.Options{}, lab.Config{DNS: []string{"option block_dot '" + value + "'"}})
			eachFamily(t, func(t *testing.T, f family) {
				for _, c := range h.Clients {
					conn, err := c.DialTCP(h.ctx(), at(f.of(h.At.Public), 853))
					if err == nil {
						conn.Close()
					}
					if refused(err) != refuse || !refuse && err != nil {
						t.Errorf("%s dialling DNS over TLS: %v, want a refusal: %t", c.Name, err, refuse)
					}
				}
			})
		})
	}
}

func TestTheDefaultOutboundTakesWhatNoRuleMatches(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Default: "node"})
	eachFamily(t, func(t *testing.T, f family) {
		laptop := h.Clients["laptop"]
		h.wantPath(t, laptop, f.of(h.At.Shared), byNode)
		h.wantPath(t, laptop, h.address(t, laptop, "elsewhere.example", f), byNode)
		h.wantPath(t, laptop, h.address(t, laptop, "www.domestic.example", f), byKernel)
	})
}

func TestAClientsSectionHasADefaultOfItsOwn(t *testing.T) {
	h := newHouse(t, lab.Options{Domestic: []string{"elsewhere.example"}})
	tv := h.Clients["tv"]
	h.configure(h.ConfigText(lab.Config{Clients: `
config client 'tv'
	list ip '` + tv.Addr4.String() + `'
	list ip '` + tv.Addr6.String() + `'
	option outbound 'node'
`}))
	h.start()
	eachFamily(t, func(t *testing.T, f family) {
		h.wantPath(t, tv, f.of(h.At.Shared), byNode)
		h.wantPath(t, tv, h.address(t, tv, "elsewhere.example", f), byNode)
		laptop := h.Clients["laptop"]
		h.wantPath(t, laptop, h.address(t, laptop, "elsewhere.example", f), byKernel)
		// The same address as before, and still the section's own way.
		h.wantPath(t, tv, f.of(h.At.Foreign), byNode)
	})
}

func TestRulesByProto(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Rules: `
config rule 'udp'
	list domain 'foreign.example'
	list proto 'udp'
	option outbound 'node'
`})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		addr := h.address(t, laptop, "www.foreign.example", f)
		if got := h.udpPath(t, laptop, addr); got != byNode {
			t.Errorf("UDP went %s, want %s", got, byNode)
		}
		if got := h.tcpPath(t, laptop, addr); got != byRelay {
			t.Errorf("TCP went %s, want %s", got, byRelay)
		}
	})
}

func TestRulesByPort(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Rules: `
config rule 'secure'
	list domain 'foreign.example'
	list port '443'
	option outbound 'node'
config rule 'others'
	list port '70-90'
	option outbound 'reject'
`})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		for _, addr := range []netip.Addr{h.address(t, laptop, "www.foreign.example", f), f.of(h.At.Foreign)} {
			seen, err := h.webFrom(laptop, addr, "https://www.foreign.example/")
			ok(t, err)
			if got := h.wayOf(seen); got != byNode {
				t.Errorf("port 443 of %s went %s, want %s", addr, got, byNode)
			}
			if seen, err := h.webFrom(laptop, addr, "http://www.foreign.example/"); !refused(err) {
				t.Errorf("port 80 of %s: %+v, %v; want a refusal", addr, seen, err)
			}
		}
	})
}

func TestRulesByProtocol(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Rules: `
config rule 'secure'
	list protocol 'tls'
	option outbound 'node'
config rule 'plain'
	list protocol 'http'
	option outbound 'reject'
`})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		for _, addr := range []netip.Addr{h.address(t, laptop, "www.foreign.example", f), f.of(h.At.Foreign)} {
			seen, err := h.webFrom(laptop, addr, "https://www.foreign.example/")
			ok(t, err)
			if got := h.wayOf(seen); got != byNode {
				t.Errorf("TLS to %s went %s, want %s", addr, got, byNode)
			}
			if seen, err := h.webFrom(laptop, addr, "http://www.foreign.example/"); !refused(err) {
				t.Errorf("HTTP to %s: %+v, %v; want a reset", addr, seen, err)
			}
			conn := h.dialTCP(t, laptop, at(addr, lab.EchoPort))
			if _, err := hello(conn); err != nil {
				t.Errorf("what is neither, to %s: %v", addr, err)
			}
		}
	})
}

func TestARejectedNameIsAnsweredAsConfigured(t *testing.T) {
	for value, want := range map[string]struct {
		rcode int
		addrs lab.Pair
	}{
		"nxdomain": {rcode: lab.NXDomain},
		"nodata":   {rcode: lab.NoError},
		"zero":     {lab.NoError, lab.Pair{V4: netip.IPv4Unspecified(), V6: netip.IPv6Unspecified()}},
	} {
		t.Run(value, func(t *testing.T) {
			h := newHome(t, lab.Options{}, lab.Config{DNS: []string{"option reject_answer '" + value + "'"}})
			eachFamily(t, func(t *testing.T, f family) {
				for _, c := range h.Clients {
					answer, err := c.Lookup(h.ctx(), h.At.RouterLAN.V4, "www.blocked.example", f.qtype, "udp")
					ok(t, err)
					var addr netip.Addr
					if len(answer.Addrs) > 0 {
						addr = answer.Addrs[0]
					}
					if answer.RCode != want.rcode || addr != f.of(want.addrs) {
						t.Errorf("%s is answered code %d and %v, want %d and %v", c.Name, answer.RCode, addr, want.rcode, f.of(want.addrs))
					}
				}
			})
			if asked := append(h.ISPLog(), h.NodeResolverLog()...); len(asked) != 0 {
				t.Errorf("%d questions were asked upstream, want none", len(asked))
			}
		})
	}
}

// With sniffing off a name in the first bytes changes nothing, so there is no
// reason to look at them.
func TestWithoutSniffingAnAddressAloneDecides(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Main: []string{"option sniff '0'"}})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		seen, err := h.webFrom(laptop, f.of(h.At.Foreign), "http://www.foreign.example/")
		ok(t, err)
		if got := h.wayOf(seen); got == byNode {
			t.Errorf("a foreign name in the first bytes led %s", got)
		}
	})
	h.wantUntouched(t)
	eachFamily(t, func(t *testing.T, f family) {
		h.wantPath(t, laptop, h.address(t, laptop, "www.foreign.example", f), byNode)
	})
}

// A device with real addresses told us what it wants of them when it asked.
func TestWithoutSniffingRealAddressesGoTheWayOfTheirNames(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Main: []string{"option sniff '0'"}})
	tv := h.Clients["tv"]
	eachFamily(t, func(t *testing.T, f family) {
		h.wantPath(t, tv, h.address(t, tv, "www.foreign.example", f), byNode)
		h.wantPath(t, tv, h.address(t, tv, "www.domestic.example", f), byKernel)
	})
}

// Nor is it otherwise with the few real addresses that others are given.
func TestWithoutSniffingNamesThatAreNeverFakedGoTheirWay(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{
		Main: []string{"option sniff '0'"}, DNS: []string{"list realip 'www.foreign.example'"},
	})
	laptop := h.Clients["laptop"]
	eachFamily(t, func(t *testing.T, f family) {
		addr := h.address(t, laptop, "www.foreign.example", f)
		if want := f.of(h.At.Foreign); addr != want {
			t.Fatalf("the laptop is answered %s, want the real %s", addr, want)
		}
		h.wantPath(t, laptop, addr, byNode)
		h.wantPath(t, laptop, h.address(t, laptop, "www.domestic.example", f), byKernel)
	})
}

func TestWithoutSniffingTheRoutersOwnFlowsGoTheWayOfTheirNames(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Main: []string{"option sniff '0'", "option router '1'"}})
	router := &lab.Client{Name: "router", NS: h.Router, Addr4: h.At.RouterWAN.V4, Addr6: h.At.RouterWAN.V6}
	answer, err := router.Lookup(h.ctx(), h.At.ISP.V4, "www.foreign.example", lab.TypeA, "udp")
	ok(t, err)
	if len(answer.Addrs) != 1 || answer.Addrs[0] != h.At.Foreign.V4 {
		t.Fatalf("the router is answered %v, want %s", answer.Addrs, h.At.Foreign.V4)
	}
	if got, want := h.seenFrom(t, router, h.At.Foreign.V4, "www.foreign.example"), h.At.Node.V4; got != want {
		t.Errorf("the server of a foreign name saw %s, want the node's %s", got, want)
	}
}
