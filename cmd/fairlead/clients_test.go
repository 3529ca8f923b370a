package main

import (
	"log/slog"
	"net/netip"
	"reflect"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/openwrt/config"
)

func TestTheDaemonListsTheDevicesThatItServes(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	tv, laptop := h.Clients["tv"], h.Clients["laptop"]
	for _, c := range []*lab.Client{laptop, tv} {
		h.address(t, c, "www.domestic.example", families[0]) // so that it is seen
	}
	out, errs, code := h.command("clients", "--json")
	var got clientList
	if err := jsonInto(out, &got); err != nil || code != 0 {
		t.Fatalf("clients exits %d: %v, %s", code, err, errs)
	}
	for _, want := range []clientStatus{
		{MAC: laptop.MAC.String(), Device: lab.LAN, Client: "default", Mode: "fakeip", Outbound: "direct"},
		{MAC: tv.MAC.String(), Device: lab.LAN, Client: "tv", Mode: "realip", Outbound: "direct"},
	} {
		found := false
		for _, c := range got.Clients {
			addresses := c.Addresses
			c.Addresses = nil
			if reflect.DeepEqual(c, want) && len(addresses) > 0 {
				found = true
			}
		}
		if !found {
			t.Errorf("clients = %+v, want %+v among them", got.Clients, want)
		}
	}
	for _, c := range got.Clients {
		if c.Device != lab.LAN {
			t.Errorf("clients lists %+v, want nobody from the WAN", c)
		}
	}
	ok(t, h.daemon.Kill())
	alone, errs, code := h.command("clients", "--json")
	if alone != out || code != 0 {
		t.Errorf("without the daemon clients exits %d and prints %s%s, want what the daemon said: %s", code, alone, errs, out)
	}
}

func TestADeviceIsListedOnceForEachSectionOfItsAddresses(t *testing.T) {
	cfg, err := config.Load(configFile(t, household), false)
	ok(t, err)
	gen, err := newGeneration(cfg, nil, slog.New(slog.DiscardHandler))
	ok(t, err)
	defer gen.close()
	mac := policy.MAC{2, 0, 0, 0, 0x77, 9}
	home, away, six := netip.MustParseAddr("192.168.77.99"), netip.MustParseAddr("192.168.77.3"), netip.MustParseAddr("2001:db8:77::9")
	got := gen.clients([]policy.Device{
		{Addr: home, MAC: mac, Interface: "br-lan"}, {Addr: away, MAC: mac, Interface: "br-lan"},
		{Addr: six, MAC: mac, Interface: "br-lan", Hostname: "pc"},
	})
	want := []clientStatus{
		{MAC: mac.String(), Addresses: []netip.Addr{home, six}, Hostname: "pc", Device: "br-lan", Client: "default", Mode: "fakeip", Outbound: "direct"},
		{MAC: mac.String(), Addresses: []netip.Addr{away}, Device: "br-lan", Client: "guest", Mode: "off", Outbound: "direct"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("clients = %+v, want %+v", got, want)
	}
}
