package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// twoZones is a firewall whose LAN may do everything, up to rules behind it.
const twoZones = `
config defaults
	option input 'REJECT'
	option forward 'REJECT'
config zone
	option name 'lan'
	list device 'br-lan'
	option input 'ACCEPT'
config zone
	option name 'wan'
	list device 'wan0'
	option masq '1'
`

const lanToWAN = "config forwarding\n\toption src 'lan'\n\toption dest 'wan'\n"

func TestExplainAsksTheFirewall(t *testing.T) {
	const kid = "config rule\n\toption name 'Bedtime'\n\toption src 'lan'\n\toption dest 'wan'\n\toption src_mac '02:00:00:00:77:02'\n\toption target 'REJECT'\n"
	const mail = "config rule\n\toption name 'Mail'\n\toption src 'lan'\n\toption dest 'wan'\n\toption dest_port '25'\n\toption target 'REJECT'\n"
	const server = "config rule\n\toption name 'Server'\n\toption src 'lan'\n\toption dest 'wan'\n\toption dest_ip '203.0.113.9'\n\toption target 'DROP'\n"
	const mute = "config rule\n\toption name 'Mute'\n\toption src 'lan'\n\toption src_mac '02:00:00:00:77:02'\n\toption dest_port '53'\n\toption proto 'udp'\n\toption target 'REJECT'\n"
	for _, tt := range []struct {
		sentence, firewall, who, what string
		rule, answer, path, because   string
	}{
		{"a zone without a forwarding", twoZones, "tv", "www.foreign.example", "zone lan", "real", "reject", "does not let the flow reach the WAN"},
		{"a zone with one", twoZones + lanToWAN, "tv", "www.foreign.example", "@rule[0]", "real", "relay", ""},
		{"a rule for the device", twoZones + kid + lanToWAN, "tv", "www.foreign.example", "Bedtime", "real", "reject", `"Bedtime"`},
		{"of a direct name, too", twoZones + kid + lanToWAN, "tv", "www.example", "Bedtime", "real", "reject", `"Bedtime"`},
		{"a rule for another device", twoZones + kid + lanToWAN, "02:00:00:00:77:07", "www.foreign.example", "@rule[0]", "fake", "relay", ""},
		{"a rule for a port that is not known", twoZones + mail + lanToWAN, "tv", "www.foreign.example", "@rule[0]", "real", "relay", `if it matches "Mail"`},
		{"for one that is", twoZones + mail + lanToWAN, "tv", "www.foreign.example:25", "Mail", "real", "reject", `"Mail"`},
		{"a rule for an address, and the client gets a fake one", twoZones + server + lanToWAN, "02:00:00:00:77:07", "www.foreign.example", "@rule[0]", "fake", "relay", ""},
		{"a rule for an address that is dialled", twoZones + server + lanToWAN, "tv", "203.0.113.9:443", "Server", "none", "reject", `"Server"`},
		{"a rule that keeps the client from asking", twoZones + mute + lanToWAN, "tv", "www.foreign.example", "Mute", "none", "reject", "ask this router"},
		{"a client that is off is the firewall's alone", twoZones, "guest", "www.example", "default", "real", "off", ""},
		{"a question to a server elsewhere", twoZones + kid + lanToWAN, "tv", "8.8.8.8:53/udp", "Bedtime", "none", "reject", "reach the WAN"},
		{"what is rejected is rejected by its own rule", twoZones, "tv", "blocked.example", "blocked", "none", "reject", ""},
	} {
		path := configFile(t, household)
		ok(t, os.WriteFile(filepath.Join(filepath.Dir(path), "firewall"), []byte(tt.firewall), 0o600))
		x, err := explain(path, tt.who, tt.what)
		why := strings.Join(x.why, "; ")
		if err != nil || x.Rule != tt.rule || x.Answer != tt.answer || x.Path != tt.path {
			t.Errorf("%s: %s to %s: rule %q, answer %s, path %s (%v), want %q, %s, %s", tt.sentence, tt.who, tt.what, x.Rule, x.Answer, x.Path, err, tt.rule, tt.answer, tt.path)
		}
		if !strings.Contains(why, tt.because) || tt.because == "" && strings.Contains(why, "firewall") {
			t.Errorf("%s: %s to %s, because %q, want it to say %q", tt.sentence, tt.who, tt.what, why, tt.because)
		}
	}
}

func TestWhoIsOnNoNetworkOfOursIsNotBehindTheWAN(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{Default: "node"}))
	h.writeBeside(t, "firewall", twoZones+lanToWAN)
	out, errs, _ := h.command("explain", "--json", "--client", "10.9.8.7", "www.foreign.example")
	var x explanation
	if err := jsonInto(out, &x); err != nil || x.Path != "relay" {
		t.Errorf("explain says path %q (%v, %s), want relay: somebody of the LAN is meant, who is not there yet", x.Path, err, errs)
	}
}

func TestExplainFindsTheSectionOfADeviceByAllThatTheLANKnowsOfIt(t *testing.T) {
	path := configFile(t, `
config fairlead 'main'
	option enabled '1'
	list device 'br0'
config client 'phone'
	list hostname 'phone'
	option mode 'realip'
config client 'shelf'
	list ip '192.0.2.0/28'
config client 'rest'
	list device 'br0'
`)
	leases := filepath.Join(t.TempDir(), "leases")
	ok(t, os.WriteFile(leases, []byte("0 02:00:00:00:77:01 192.0.2.101 phone *\n0 02:00:00:00:77:02 192.0.2.2 tv *\n"), 0o600))
	ok(t, os.WriteFile(filepath.Join(filepath.Dir(path), "dhcp"), []byte("config dnsmasq\n\toption leasefile '"+leases+"'\n"), 0o600))
	for _, tt := range []struct{ sentence, who, want string }{
		{"by the host name of its address", "192.0.2.101", "phone"},
		{"by the host name of its hardware address", "02:00:00:00:77:01", "phone"},
		{"by the address that its hardware address was leased", "02:00:00:00:77:02", "shelf"},
		{"by the only interface that is served", "192.0.2.200", "rest"},
		{"by that, too, if nothing else is known", "02:00:00:00:77:09", "rest"},
	} {
		if x, err := explain(path, tt.who, "www.example"); err != nil || x.Client != tt.want {
			t.Errorf("%s: %s belongs to section %q (%v), want %s", tt.sentence, tt.who, x.Client, err, tt.want)
		}
	}
}

func TestExplainKnowsTheNetworksOfTheRouter(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{Default: "node"}))
	for _, tt := range []struct {
		sentence string
		addr     netip.Addr
		port     string
		path     string
	}{
		{"an address of its own", h.At.RouterLAN.V4, "", "kernel"},
		{"one towards the WAN", h.At.RouterWAN.V6, "", "kernel"},
		{"its web pages", h.At.RouterLAN.V4, ":80", "kernel"},
		{"another device of the LAN", h.At.RouterLAN.V4.Next(), "", "kernel"},
		{"the ISP's router", h.At.Gateway.V6, "", "kernel"},
		{"its DNS", h.At.RouterLAN.V4, ":53/udp", "relay"},
		{"the DNS of somebody else", h.At.Public.V4, ":53", "relay"},
		{"an address far away", h.At.Foreign.V4, "", "relay"},
		{"another one", h.At.Foreign.V6, "", "relay"},
	} {
		what := tt.addr.String() + tt.port
		out, errs, _ := h.command("explain", "--json", "--client", "192.168.77.77", what)
		var x explanation
		if err := jsonInto(out, &x); err != nil || x.Path != tt.path {
			t.Errorf("%s: explain %s says path %q (%v, %s), want %s", tt.sentence, what, x.Path, err, errs, tt.path)
		}
	}
}

func TestTheFirewallIsAskedOfTheWANOnly(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{Default: "node"}))
	h.writeBeside(t, "firewall", twoZones)
	for what, want := range map[string]string{
		h.At.RouterLAN.V4.String():         "kernel",
		h.At.RouterLAN.V4.String() + ":53": "relay",
		h.At.Public.V4.String() + ":53":    "reject",
		"239.255.255.250":                  "kernel",
		h.At.Public.V4.String():            "reject",
	} {
		out, errs, _ := h.command("explain", "--json", "--client", "192.168.77.77", what)
		var x explanation
		if err := jsonInto(out, &x); err != nil || x.Path != want {
			t.Errorf("explain %s says path %q (%v, %s), want %s: the LAN may not forward, and may ask this router", what, x.Path, err, errs, want)
		}
	}
}
