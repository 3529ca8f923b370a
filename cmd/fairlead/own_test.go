package main

import (
	"net/netip"
	"testing"
)

func TestWhoIsNearAndWhoIsAStranger(t *testing.T) {
	prefix := netip.MustParsePrefix
	lan := []netip.Prefix{prefix("192.168.1.0/24"), prefix("2001:db8:77::/64"), prefix("fe80::/64")}
	home := append([]netip.Prefix{prefix("192.168.9.0/24"), prefix("203.0.113.0/24"), prefix("fe80::/10")}, lan...)
	var o ownAddresses
	o.follow(home, map[string][]netip.Prefix{"br-lan": lan}, []string{"br-lan"})
	o.set.Store(&map[netip.Addr]bool{netip.MustParseAddr("192.168.9.1"): true})
	for _, tt := range []struct {
		sentence, addr           string
		near, stranger, ofTheLAN bool
	}{
		{"a client of the LAN", "192.168.1.50", true, false, true},
		{"one with a public address", "2001:db8:77::50", true, false, true},
		{"one with a link-local address", "fe80::50", true, false, true},
		{"a client of a network that is not served", "192.168.9.50", true, true, false},
		{"the router itself there", "192.168.9.1", true, false, false},
		{"its loopback", "127.0.0.1", true, false, false},
		{"a link-local client of lo, which is not served", "fe80::50%1", true, true, true},
		{"somebody elsewhere, or behind a router in the LAN", "198.51.100.1", false, false, false},
	} {
		addr := netip.MustParseAddr(tt.addr)
		_, ofTheLAN := o.subnet(addr)
		if near, stranger := o.near(addr), o.stranger(addr); near != tt.near || stranger != tt.stranger || ofTheLAN != tt.ofTheLAN {
			t.Errorf("%s: near %t, stranger %t, of the LAN %t; want %t, %t, %t", tt.sentence, near, stranger, ofTheLAN, tt.near, tt.stranger, tt.ofTheLAN)
		}
	}
}
