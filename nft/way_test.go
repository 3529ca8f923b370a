package nft

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// wantLearned wants addresses in the sets of ways of group 0, and no others.
func wantLearned(t testing.TB, when string, f family, want map[Way]string) {
	t.Helper()
	for _, w := range learnable(outwards().Interfaces) {
		wantOnly(t, when, wayName(f, 0, w), want[w])
	}
}

// wantFakes is the same for fake addresses.
func wantFakes(t testing.TB, when string, f family, want map[Way]string) {
	t.Helper()
	for _, w := range standable(outwards().Interfaces) {
		wantOnly(t, when, fakeWayName(f, w), want[w])
	}
}

func wantOnly(t testing.TB, when, name, want string) {
	t.Helper()
	if got := strings.Join(sortStrings(elements(t, name)), ", "); got != want {
		t.Errorf("%s, %s has %q, want %q", when, name, got, want)
	}
}

func TestAnAddressHasTheWayThatWasSetLast(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	for _, way := range []Way{
		DirectWay, InterfaceWay(3), InterfaceWay(3), InterfaceWay(15), Relay, Refuse, DirectWay,
	} {
		for _, a := range []string{"198.51.100.7", "2001:db8::7"} {
			check(t, "SetWay", table.SetWay(0, addr(a), way, time.Minute))
		}
		when := "after SetWay to " + way.chain()
		wantLearned(t, when, v4(), map[Way]string{way: "198.51.100.7 timeout 1m"})
		wantLearned(t, when, v6(), map[Way]string{way: "2001:db8::7 timeout 1m"})
	}
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.7"), InterfaceWay(15), time.Minute))
	check(t, "DelWay", table.DelWay(0, addr("198.51.100.7")))
	wantLearned(t, "after DelWay", v4(), nil)
}

func TestAnAddressSaidToBeNewIsOnlyAdded(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	first := Learned{Addr: addr("198.51.100.7"), Way: InterfaceWay(3), TTL: time.Minute, First: true}
	for _, when := range []string{"new", "there already"} {
		check(t, "SetWays", table.SetWays([]Learned{first}))
		wantLearned(t, when, v4(), map[Way]string{InterfaceWay(3): "198.51.100.7 timeout 1m"})
	}
	group, err := table.ruleset.placed(first, false)
	check(t, "placed", err)
	b := newBatch(TableName)
	place(b, group)
	if len(b.messages) != 1 {
		t.Errorf("%d messages for an address that is new, want 1", len(b.messages))
	}
}

func TestManyWaysAreSetTogetherWhateverSomeOfThemWere(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.2"), DirectWay, time.Minute))
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.3"), InterfaceWay(3), time.Minute))
	all := []Learned{
		{Addr: addr("198.51.100.1"), Way: InterfaceWay(3), TTL: time.Minute},
		{Addr: addr("198.51.100.2"), Way: InterfaceWay(3), TTL: time.Minute},
		{Addr: addr("198.51.100.3"), Way: InterfaceWay(3), TTL: time.Minute},
		{Addr: addr("198.51.100.1"), Way: DirectWay, TTL: time.Minute}, // twice: the later holds
	}
	check(t, "SetWays", table.SetWays(all))
	wantLearned(t, "after SetWays", v4(), map[Way]string{
		DirectWay:       "198.51.100.1 timeout 1m",
		InterfaceWay(3): "198.51.100.2 timeout 1m, 198.51.100.3 timeout 1m",
	})
	check(t, "DelWays", table.DelWays(all))
	wantLearned(t, "after DelWays", v4(), nil)
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
	}{
		{"198.51.100.7", InterfaceWay(3)},
		{"198.51.100.7", InterfaceWay(3)},
		{"198.51.100.8", InterfaceWay(3)},
		{"198.51.100.9", InterfaceWay(15)},
		{"", Relay},
		{"", Relay},
		{"198.51.100.7", InterfaceWay(15)},
		{"198.51.100.7", DirectWay},
		{"", Refuse}, // which is to be in no set
	} {
		real, stands := netip.Addr{}, []string(nil)
		if tt.real != "" {
			real, stands = addr(tt.real), []string{"198.18.0.5 : " + tt.real}
		}
		check(t, "SetFake", table.SetFake(fake, real, tt.way))
		when := "after SetFake to " + tt.real + " " + tt.way.chain()
		wantFakes(t, when, v4(), map[Way]string{tt.way: "198.18.0.5"})
		wantElements(t, when, "fakereal4", stands...)
	}
}

func TestAFakeAddressAddedAnewIsRelayed(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetFake", table.SetFake(addr("2001:2::5"), addr("2001:db8::7"), InterfaceWay(3)))
	check(t, "AddFake", table.AddFake(addr("198.18.0.5"), addr("2001:2::5")))
	wantFakes(t, "after AddFake", v4(), map[Way]string{Relay: "198.18.0.5"})
	wantFakes(t, "after AddFake", v6(), map[Way]string{Relay: "2001:2::5"})
	wantElements(t, "after AddFake", "fakereal6")
}

func TestARefusedFakeAddressStandsForNothing(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetFake", table.SetFake(addr("198.18.0.5"), addr("198.51.100.7"), InterfaceWay(3)))
	check(t, "AddFake", table.AddFake(addr("198.18.0.6"), netip.Addr{}))
	for _, a := range []string{"198.18.0.5", "198.18.0.6", "2001:2::5"} {
		check(t, "SetFake", table.SetFake(addr(a), netip.Addr{}, Refuse))
	}
	wantFakes(t, "after SetFake", v4(), nil)
	wantElements(t, "after SetFake", "fakereal4")
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

			wantFakes(t, "after Reload", v4(), map[Way]string{Relay: "198.18.0.5, 198.18.0.6"})
			wantElements(t, "after Reload", "fakereal4")
			wantLearned(t, "after Reload", v6(), nil)
			wantLearned(t, "after Reload", v4(), map[Way]string{DirectWay: "198.51.100.8 timeout 1m"})
		})
	}
}

func TestAFakeAddressThatLeavesDirectlyIsRelayedOnceNoneCanStandForARealOne(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetFake", table.SetFake(addr("198.18.0.5"), addr("198.51.100.7"), DirectWay))
	check(t, "Reload", table.Reload(build(t, house())))
	wantFakes(t, "after Reload", v4(), map[Way]string{Relay: "198.18.0.5"})
}

func TestWhatLeadsToAnInterfaceThatStaysIsKept(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	check(t, "SetFake", table.SetFake(addr("198.18.0.5"), addr("198.51.100.7"), InterfaceWay(15)))
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.8"), InterfaceWay(15), time.Minute))
	c := outwards()
	c.Interfaces = []Interface{{N: 15, Device: "wan-b", Masq: true}, {N: 3, Device: "wg9"}}
	check(t, "Reload", table.Reload(build(t, c)))
	wantFakes(t, "after Reload", v4(), map[Way]string{InterfaceWay(15): "198.18.0.5"})
	wantElements(t, "after Reload", "fakereal4", "198.18.0.5 : 198.51.100.7")
	wantLearned(t, "after Reload", v4(), map[Way]string{InterfaceWay(15): "198.51.100.8 timeout 1m"})
}

func TestAllOfManyFakeAddressesRetire(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	const n = 3000 // more than a transaction takes
	fake, real := addr("198.18.0.0"), addr("198.51.100.7")
	var groups [][]placement
	for range n {
		fake = fake.Next()
		group, err := table.installed().standing(fake, real, InterfaceWay(3))
		check(t, "standing", err)
		groups = append(groups, group)
	}
	check(t, "settle", table.settle("setting many", groups))
	c := outwards()
	c.Interfaces = c.Interfaces[1:]
	check(t, "Reload", table.Reload(build(t, c)))
	if got := len(elements(t, fakeWayName(v4(), Relay))); got != n {
		t.Errorf("after Reload %d fake addresses are relayed, want %d", got, n)
	}
	wantElements(t, "after Reload", "fakereal4")
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
