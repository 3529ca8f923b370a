package fakeip

import (
	"net/netip"
	"testing"
)

func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func TestSlotsAreAllAddressesButTheFirstAndTheBroadcast(t *testing.T) {
	tests := []struct {
		what         string
		v4, v6       string
		maxNames     int
		last         Slot
		last4, last6 string
	}{
		{"the default ranges", "198.18.0.0/15", "2001:2::/64", 0, 131070, "198.19.255.254", "2001:2::1:fffe"},
		{"a small range of IPv4", "198.18.0.0/29", "2001:2::/64", 0, 6, "198.18.0.6", "2001:2::6"},
		{"a small range of IPv6", "198.18.0.0/15", "2001:2::/124", 0, 14, "198.18.0.14", "2001:2::e"},
		{"the smallest range", "198.18.0.0/30", "2001:2::/126", 0, 2, "198.18.0.2", "2001:2::2"},
		{"ranges with host bits", "198.18.77.1/15", "2001:2::5/64", 0, 131070, "198.19.255.254", "2001:2::1:fffe"},
		{"only IPv4", "10.0.0.0/8", "", 0, 1<<24 - 2, "10.255.255.254", ""},
		{"only IPv6", "", "fd00::/8", 0, 1<<24 - 2, "", "fd00::ff:fffe"},
		{"all of IPv4", "0.0.0.0/0", "::/0", 0, 1<<24 - 2, "0.255.255.254", "::ff:fffe"},
		{"fewer names than addresses", "198.18.0.0/15", "2001:2::/64", 8, 8, "198.18.0.8", "2001:2::8"},
		{"more names than addresses", "198.18.0.0/30", "2001:2::/64", 8, 2, "198.18.0.2", "2001:2::2"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			r, err := newRanges(prefix(tt.v4), prefix(tt.v6), tt.maxNames)
			if err != nil {
				t.Fatal(err)
			}
			if r.last != tt.last {
				t.Errorf("last slot = %d, want %d", r.last, tt.last)
			}
			v4, v6 := r.addrs(r.last)
			if v4 != addr(tt.last4) || v6 != addr(tt.last6) {
				t.Errorf("addresses of the last slot = %s, %s; want %s, %s", v4, v6, tt.last4, tt.last6)
			}
			for s := Slot(1); s <= r.last; s += 1 + r.last/1000 {
				v4, v6 := r.addrs(s)
				for _, a := range []netip.Addr{v4, v6} {
					if got, ok := r.slot(a); a.IsValid() && (!ok || got != s) {
						t.Fatalf("slot(%s) = %d, %t; want %d", a, got, ok, s)
					}
				}
			}
			for _, s := range []Slot{0, r.last + 1, 1 << 31} {
				if v4, v6 := r.addrs(s); v4.IsValid() || v6.IsValid() {
					t.Errorf("addrs(%d) = %s, %s; want none", s, v4, v6)
				}
			}
		})
	}
}

func TestRangesWithoutAddressesAreRefused(t *testing.T) {
	for what, r := range map[string][2]string{
		"no range":                    {"", ""},
		"a single address":            {"198.18.0.0/32", "2001:2::/64"},
		"two addresses":               {"198.18.0.0/15", "2001:2::/127"},
		"IPv6 in the place of IPv4":   {"2001:2::/64", ""},
		"IPv4 in the place of IPv6":   {"", "198.18.0.0/15"},
		"IPv4 mapped into IPv6 as v4": {"::ffff:198.18.0.0/111", ""},
	} {
		if p, err := Open(Config{Prefix4: prefix(r[0]), Prefix6: prefix(r[1])}); err == nil {
			t.Errorf("%s: Open = %+v, want an error", what, p.Stats())
		}
	}
}
