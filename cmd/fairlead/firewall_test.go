package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// newZoned is a house whose router has OpenWrt's firewall, and a guest network
// beside the LAN. Whatever is not said otherwise leaves through the node.
func newZoned(t *testing.T, config string) (h *home, guest *lab.Client) {
	t.Helper()
	h = newHouse(t, lab.Options{})
	guest = h.guest(t, "guest0")
	h.writeBeside(t, "firewall", config)
	h.configure(h.ConfigText(lab.Config{Default: "node", Main: []string{"list device 'guest0'"}}))
	h.start()
	return h, guest
}

// fake asks the router for a name that leaves through the node.
func (h *home) fake(t *testing.T, c *lab.Client, router netip.Addr, f family) netip.Addr {
	t.Helper()
	answer, err := c.Lookup(h.ctx(), router, "www.foreign.example", f.qtype, "udp")
	ok(t, err)
	if len(answer.Addrs) != 1 {
		t.Fatalf("%s asked for a name and got code %d and %v, want one address", c.Name, answer.RCode, answer.Addrs)
	}
	return answer.Addrs[0]
}

func TestAZoneThatMayNotReachTheWANDoesNotReachItThroughFairlead(t *testing.T) {
	h, guest := newZoned(t, zones+guestDNS+guestWAN)
	fw4 := h.firewall(t, lanPasses(), guestPasses())
	router := lab.Pair{V4: netip.MustParseAddr("192.168.78.1"), V6: netip.MustParseAddr("2001:db8:78::1")}
	for _, f := range families {
		h.wantPath(t, guest, h.fake(t, guest, f.of(router), f), byNode) // the control
		h.wantPath(t, guest, f.of(h.At.Foreign), byNode)
	}

	h.follow(t, zones+guestDNS)
	fw4.set(lanPasses())
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			h.wantRefused(t, guest, h.fake(t, guest, f.of(router), f))
			before := fw4.refused()
			h.wantRefused(t, guest, f.of(h.At.Foreign))
			if got := fw4.refused() - before; got != 2 {
				t.Errorf("the firewall refused %d packets, want the one of TCP and the one of UDP: it has its own way to refuse", got)
			}
			h.wantPath(t, h.Clients["laptop"], f.of(h.At.Foreign), byNode)
		})
	}

	h.follow(t, zones+guestDNS+guestWAN)
	h.wantPath(t, guest, h.At.Foreign.V4, byNode)
}

func TestARuleForADeviceHoldsForItAlone(t *testing.T) {
	h, _ := newZoned(t, zones)
	laptop, tv := h.Clients["laptop"], h.Clients["tv"]
	fw4 := h.firewall(t, lanPasses())
	eachFamily(t, func(t *testing.T, f family) { h.wantPath(t, laptop, f.of(h.At.Foreign), byNode) })
	living := h.dialTCP(t, laptop, at(h.At.Foreign.V4, lab.EchoPort))
	_, err := hello(living)
	ok(t, err)

	h.follow(t, zones+refuseLaptop(h))
	fw4.set(append(ofMAC(laptop.MAC), refuses()), lanPasses())
	eachFamily(t, func(t *testing.T, f family) {
		h.wantRefused(t, laptop, f.of(h.At.Foreign))
		h.wantRefused(t, laptop, h.address(t, laptop, "www.foreign.example", f))
		h.wantPath(t, tv, f.of(h.At.Foreign), byNode)
	})
	if answer, err := askOnce(living, "still here\n"); answer != "still here\n" {
		t.Errorf("the flow that was under way answers %q, %v; want it to go on, as with the firewall", answer, err)
	}

	accepted := fmt.Sprintf("config rule\n\toption src '*'\n\toption dest 'wan'\n\toption dest_port '%d'\n\toption target 'ACCEPT'\n", lab.EchoPort)
	h.follow(t, zones+accepted+refuseLaptop(h))
	h.wantPath(t, laptop, h.At.Foreign.V4, byNode)
	if conn, err := laptop.DialTCP(h.ctx(), at(h.At.Foreign.V4, lab.BannerPort)); !refused(err) {
		conn.Close()
		t.Errorf("dialling a port that no rule accepts: %v, want a refusal", err)
	}
}

func TestARuleHoldsAtItsTimeInTheRoutersTimeZone(t *testing.T) {
	h, _ := newZoned(t, zones)
	laptop := h.Clients["laptop"]
	h.firewall(t, append(ofMAC(laptop.MAC), refuses()), lanPasses())
	window := func(now time.Time) []string {
		return []string{
			"option start_time '" + now.Add(-time.Hour).Format(time.TimeOnly) + "'",
			"option stop_time '" + now.Add(time.Hour).Format(time.TimeOnly) + "'",
			"option weekdays '" + now.Add(-time.Hour).Format("Mon") + " " + now.Add(time.Hour).Format("Mon") + "'",
		}
	}
	later := time.Now().UTC().Add(5 * time.Hour)
	h.wantPath(t, laptop, h.At.Foreign.V4, byNode) // the control

	h.follow(t, zones+refuseLaptop(h, window(time.Now().UTC())...))
	h.wantRefused(t, laptop, h.At.Foreign.V4)

	h.follow(t, zones+refuseLaptop(h, window(later)...))
	h.wantPath(t, laptop, h.At.Foreign.V4, byNode)
	h.writeBeside(t, "system", "config system\n\toption timezone '<+05>-5'\n")
	until(t, patience, "following the time zone", func() bool { _, err := h.tryTCP(laptop, h.At.Foreign.V4); return refused(err) })
}

func TestARuleBeginsToHoldByItself(t *testing.T) {
	h, _ := newZoned(t, zones)
	laptop := h.Clients["laptop"]
	h.wantPath(t, laptop, h.At.Foreign.V4, byNode) // the control
	soon := time.Now().UTC().Add(2 * time.Second)
	h.writeBeside(t, "firewall", zones+refuseLaptop(h, "option start_date '"+soon.Format("2006-01-02T15:04:05")+"'"))
	h.firewall(t, append(ofMAC(laptop.MAC), refuses()), lanPasses())
	until(t, patience, "the rule begins to hold", func() bool { _, err := h.tryTCP(laptop, h.At.Foreign.V4); return refused(err) })
	if time.Now().Before(soon.Truncate(time.Second)) {
		t.Error("the rule held before its time")
	}
}

// What the firewall was said to refuse must not leave directly.
func TestWhatTheFirewallPassesAgainstItsConfigurationDoesNotLeave(t *testing.T) {
	h, guest := newZoned(t, zones)
	h.firewall(t, lanPasses(), guestPasses())
	capture, err := h.CaptureWAN()
	ok(t, err)
	for _, f := range families {
		for _, network := range []string{"tcp", "udp"} {
			if answer := h.provoke(t, guest, network, at(f.of(h.At.Foreign), lab.EchoPort)); answer != "" {
				t.Errorf("a guest was answered %q over %s, want silence", answer, network)
			}
		}
	}
	h.wantPath(t, h.Clients["laptop"], h.At.Foreign.V4, byNode) // the control: this is seen
	packets, err := capture.Packets()
	ok(t, err)
	seen := 0
	for _, p := range packets {
		s, isIP := p.Segment()
		if isIP && h.At.Foreign.Is(s.Dst.Addr()) {
			t.Errorf("the WAN saw %+v, want nothing of a flow that the firewall has to refuse", s)
		}
		if isIP && h.At.Node.Is(s.Dst.Addr()) {
			seen++
		}
	}
	if seen == 0 {
		t.Error("the WAN saw nothing at all, want the flow to the node")
	}
}

func TestAZoneAsksTheRouterIfItsInputLetsIt(t *testing.T) {
	h, guest := newZoned(t, zones+guestDNS+guestWAN)
	h.firewall(t, lanPasses(), guestPasses())
	router := netip.MustParseAddr("192.168.78.1")
	ask := func(server netip.Addr, network string) error {
		_, err := guest.Lookup(h.ctx(), server, "www.foreign.example", lab.TypeA, network)
		return err
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, server := range []netip.Addr{router, h.At.Public.V4} {
			if err := ask(server, network); err != nil {
				t.Errorf("a guest asks %s over %s: %v, want an answer", server, network, err)
			}
		}
	}
	h.follow(t, zones+guestWAN)
	for _, network := range []string{"udp", "tcp"} {
		if err := ask(router, network); !refused(err) {
			t.Errorf("a guest asks the router over %s, which the zone's input refuses: %v, want a refusal", network, err)
		}
		if err := ask(h.At.Public.V4, network); err != nil {
			t.Errorf("a guest asks another server over %s, which it may reach: %v, want an answer", network, err)
		}
	}
	h.follow(t, zones+guestDNS)
	h.firewall(t, lanPasses())
	if err := ask(router, "udp"); err != nil {
		t.Errorf("a guest that may not reach the WAN asks the router: %v, want an answer", err)
	}
	if err := ask(h.At.Public.V4, "udp"); !refused(err) {
		t.Errorf("a guest that may not reach the WAN asks a server there: %v, want a refusal", err)
	}
}

func TestDoctorSaysWhatOfTheFirewallIsNotHeld(t *testing.T) {
	h, _ := newZoned(t, zones+guestDNS+guestWAN+"config rule\n\toption name 'No-Games'\n\toption src 'lan'\n\toption dest 'wan'\n\toption ipset 'games dest'\n\toption target 'REJECT'\n")
	out, _, _ := h.command("doctor")
	if !strings.Contains(out, "firewall-unseen") || !strings.Contains(out, "No-Games") {
		t.Errorf("doctor says\n%s\nwant it to name the rule", out)
	}
	ok(t, h.daemon.WaitLog(h.ctx(), "No-Games"))
}

func TestWithoutAFirewallTheTableAsksForNone(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Default: "node"})
	if h.hasChain(t, "zones") {
		t.Error("the table has a chain zones, want none: there is no firewall of OpenWrt")
	}
	h.follow(t, zones+refuseLaptop(h))
	if !h.hasChain(t, "zones") {
		t.Error("the table has no chain zones, want one for the rule that came")
	}
	h.follow(t, zones)
	if h.hasChain(t, "zones") {
		t.Error("the table has a chain zones, want none: the firewall refuses nothing that could be relayed")
	}
}
