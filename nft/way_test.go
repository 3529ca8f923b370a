package nft

import (
	"net/netip"
	"testing"
	"time"
)

func TestAnAddressHasTheWayThatWasSetLast(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	for _, tt := range []struct {
		way  Way
		want string
	}{
		{DirectWay, "goto direct"},
		{InterfaceWay(3), "goto w3"},
		{InterfaceWay(3), "goto w3"},
		{InterfaceWay(15), "goto w15"},
		{Relay, "return"},
		{Refuse, "goto refuse"},
		{DirectWay, "goto direct"},
	} {
		for _, a := range []string{"198.51.100.7", "2001:db8::7"} {
			check(t, "SetWay", table.SetWay(0, addr(a), tt.way, time.Minute))
		}
		wantElements(t, "after SetWay", "way4_g0", "198.51.100.7 timeout 1m : "+tt.want)
		wantElements(t, "after SetWay", "way6_g0", "2001:db8::7 timeout 1m : "+tt.want)
	}
	check(t, "DelWay", table.DelWay(0, addr("198.51.100.7")))
	wantElements(t, "after DelWay", "way4_g0")
}

func TestManyWaysAreSetTogetherWhateverSomeOfThemWere(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.2"), DirectWay, time.Minute))
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.3"), InterfaceWay(3), time.Minute))
	all := []Learned{
		{0, addr("198.51.100.1"), InterfaceWay(3), time.Minute},
		{0, addr("198.51.100.2"), InterfaceWay(3), time.Minute},
		{0, addr("198.51.100.3"), InterfaceWay(3), time.Minute},
		{0, addr("198.51.100.1"), DirectWay, time.Minute}, // twice: the later holds
	}
	check(t, "SetWays", table.SetWays(all))
	wantSorted(t, "after SetWays", "way4_g0", "198.51.100.1 timeout 1m : goto direct",
		"198.51.100.2 timeout 1m : goto w3", "198.51.100.3 timeout 1m : goto w3")
	check(t, "DelWays", table.DelWays(all))
	wantElements(t, "after DelWays", "way4_g0")
}

func wantSorted(t testing.TB, when, name string, want ...string) {
	t.Helper()
	got := sortStrings(elements(t, name))
	if len(got) != len(want) {
		t.Fatalf("%s, %s has %q, want %q", when, name, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s, %s has %q, want %q", when, name, got[i], want[i])
		}
	}
}

func TestAWayThatTheTableLacksIsRefused(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	if err := table.SetWay(0, addr("198.51.100.7"), InterfaceWay(4), time.Minute); err == nil {
		t.Error("SetWay to an interface that does not exist = nil, want an error")
	}
	if err := table.SetFake(addr("198.18.0.5"), addr("198.51.100.7"), InterfaceWay(4)); err == nil {
		t.Error("SetFake to an interface that does not exist = nil, want an error")
	}
	if err := table.SetFake(addr("198.18.0.5"), addr("2001:db8::7"), InterfaceWay(3)); err == nil {
		t.Error("SetFake of an address of the other family = nil, want an error")
	}
}

func TestAFakeAddressStandsForWhatWasSetLast(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	fake := addr("198.18.0.5")
	for _, tt := range []struct {
		real string
		way  Way
		lead string
	}{
		{"198.51.100.7", InterfaceWay(3), "goto w3"},
		{"198.51.100.7", InterfaceWay(3), "goto w3"},
		{"198.51.100.8", InterfaceWay(3), "goto w3"},
		{"198.51.100.9", InterfaceWay(15), "goto w15"},
		{"", Relay, "goto relay"},
		{"", Relay, "goto relay"},
		{"198.51.100.7", InterfaceWay(15), "goto w15"},
		{"198.51.100.7", DirectWay, "goto direct"},
		{"", Refuse, "goto refuse"},
	} {
		real, stands := netip.Addr{}, []string(nil)
		if tt.real != "" {
			real, stands = addr(tt.real), []string{"198.18.0.5 : " + tt.real}
		}
		check(t, "SetFake", table.SetFake(fake, real, tt.way))
		wantElements(t, "after SetFake "+tt.real, "fakeway4", "198.18.0.5 : "+tt.lead)
		wantElements(t, "after SetFake "+tt.real, "fakereal4", stands...)
	}
}

func TestAFakeAddressAddedAnewIsRelayed(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetFake", table.SetFake(addr("2001:2::5"), addr("2001:db8::7"), InterfaceWay(3)))
	check(t, "AddFake", table.AddFake(addr("198.18.0.5"), addr("2001:2::5")))
	wantElements(t, "after AddFake", "fakeway4", "198.18.0.5 : goto relay")
	wantElements(t, "after AddFake", "fakeway6", "2001:2::5 : goto relay")
	wantElements(t, "after AddFake", "fakereal6")
}

func TestADeletedFakeAddressStandsForNothing(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetFake", table.SetFake(addr("198.18.0.5"), addr("198.51.100.7"), InterfaceWay(3)))
	check(t, "AddFake", table.AddFake(addr("198.18.0.6"), netip.Addr{}))
	check(t, "DelFakes", table.DelFakes([][2]netip.Addr{{addr("198.18.0.5"), addr("2001:2::5")}, {addr("198.18.0.6")}}))
	wantElements(t, "after DelFakes", "fakeway4")
	wantElements(t, "after DelFakes", "fakereal4")
}

func TestWhatLedToAnInterfaceThatGoesIsRelayed(t *testing.T) {
	for _, tt := range []struct {
		name string
		left []Interface
	}{
		{"none is left", nil},
		{"another has its number", []Interface{{N: 15, Device: "wan-b"}, {N: 3, Device: "wg9"}}},
		{"another is left", []Interface{{N: 15, Device: "wan-b"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := install(t, enterNetNS(t), outwards())
			check(t, "SetFake", table.SetFake(addr("198.18.0.5"), addr("198.51.100.7"), InterfaceWay(3)))
			check(t, "AddFake", table.AddFake(addr("198.18.0.6"), addr("2001:2::6")))
			check(t, "SetWay", table.SetWay(0, addr("2001:db8::7"), InterfaceWay(3), time.Minute))
			check(t, "SetWay", table.SetWay(0, addr("198.51.100.8"), DirectWay, time.Minute))
			c := outwards()
			c.Interfaces = tt.left
			check(t, "Reload", table.Reload(build(t, c)))

			wantSorted(t, "after Reload", "fakeway4", "198.18.0.5 : goto relay", "198.18.0.6 : goto relay")
			wantElements(t, "after Reload", "fakereal4")
			wantElements(t, "after Reload", "way6_g0")
			wantElements(t, "after Reload", "way4_g0", "198.51.100.8 timeout 1m : goto direct")
		})
	}
}

func TestWhatLeadsToAnInterfaceThatStaysIsKept(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetFake", table.SetFake(addr("198.18.0.5"), addr("198.51.100.7"), InterfaceWay(15)))
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.8"), InterfaceWay(15), time.Minute))
	c := outwards()
	c.Interfaces = []Interface{{N: 15, Device: "wan-b", Masq: true}, {N: 3, Device: "wg9"}}
	check(t, "Reload", table.Reload(build(t, c)))
	wantElements(t, "after Reload", "fakeway4", "198.18.0.5 : goto w15")
	wantElements(t, "after Reload", "fakereal4", "198.18.0.5 : 198.51.100.7")
	wantElements(t, "after Reload", "way4_g0", "198.51.100.8 timeout 1m : goto w15")
}

func TestAllOfManyAddressesRetire(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	const n = 3000
	var all []Learned
	a := addr("198.51.0.0")
	for range n {
		a = a.Next()
		all = append(all, Learned{0, a, InterfaceWay(3), time.Hour})
	}
	check(t, "SetWays", table.SetWays(all))
	c := outwards()
	c.Interfaces = nil
	check(t, "Reload", table.Reload(build(t, c)))
	wantElements(t, "after Reload", "way4_g0")
}

func TestAFlowThatIsHandedBackIsKnownByItsTuple(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	for range 2 {
		check(t, "HandBack", table.HandBack(netip.MustParseAddrPort("192.168.77.2:4000"), netip.MustParseAddrPort("198.51.100.7:443")))
		check(t, "HandBack", table.HandBack(netip.MustParseAddrPort("[2001:db8:77::2]:4000"), netip.MustParseAddrPort("[2001:db8::7]:443")))
		wantElements(t, "after HandBack", "handback4", "192.168.77.2 . 4000 . 198.51.100.7 . 443")
		wantElements(t, "after HandBack", "handback6", "2001:db8:77::2 . 4000 . 2001:db8::7 . 443")
	}
	if err := table.HandBack(netip.MustParseAddrPort("192.168.77.2:4000"), netip.MustParseAddrPort("[2001:db8::7]:443")); err == nil {
		t.Error("HandBack between families = nil, want an error")
	}
}
