package nft

import (
	"net/netip"
	"strings"
	"testing"
)

func block(texts ...string) (b [2]netip.Prefix) {
	for i, s := range texts {
		b[i] = netip.MustParsePrefix(s)
	}
	return b
}

func taking(b [2]netip.Prefix, used ...[2]netip.Addr) func() ([][2]netip.Prefix, [][2]netip.Addr) {
	return func() ([][2]netip.Prefix, [][2]netip.Addr) { return [][2]netip.Prefix{b}, used }
}

func TestABlockOfFakeAddressesIsOneElementOfEachFamily(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	b := block("198.18.1.0/24", "2001:2::100/120")
	for range 2 {
		check(t, "AddFakeBlock", table.AddFakeBlock(b[0], b[1]))
	}
	wantElements(t, "after AddFakeBlock", "fakeblock4", "198.18.1.0")
	wantElements(t, "after AddFakeBlock", "fakeblock6", "2001:2::100")

	check(t, "Reload", table.Reload(build(t, outwards())))
	wantElements(t, "after Reload", "fakeblock4", "198.18.1.0")

	used := [][2]netip.Addr{{addr("198.18.1.7"), addr("2001:2::107")}}
	for range 2 {
		check(t, "DelFakeBlocks", table.DelFakeBlocks(taking(b, used...)))
	}
	wantElements(t, "after DelFakeBlocks", "fakeblock4")
	wantElements(t, "after DelFakeBlocks", "fakeblock6")
	wantFakes(t, "after DelFakeBlocks", v4(), map[Way]string{Relay: "198.18.1.7"})
	wantFakes(t, "after DelFakeBlocks", v6(), map[Way]string{Relay: "2001:2::107"})
}

func TestAnAddressOfABlockThatLeadsElsewhereIsNotLedBack(t *testing.T) {
	table := install(t, enterNetNS(t), outwards())
	b := block("198.18.1.0/24")
	check(t, "AddFakeBlock", table.AddFakeBlock(b[0], b[1]))
	check(t, "SetFake", table.SetFake(addr("198.18.1.7"), addr("198.51.100.7"), InterfaceWay(3)))
	check(t, "DelFakeBlocks", table.DelFakeBlocks(taking(b, [2]netip.Addr{addr("198.18.1.7")})))
	wantOnly(t, "after DelFakeBlocks", fakeWayName(v4(), InterfaceWay(3)), "198.18.1.7")
	wantElements(t, "after DelFakeBlocks", "fakereal4", "198.18.1.7 : 198.51.100.7")

	var order []string // of the rules, the first that matches decides
	for _, r := range table.ruleset.chain("fake").rules {
		if text := r.text(); strings.Contains(text, " ip ") {
			order = append(order, text[strings.Index(text, "@"):])
		}
	}
	want := "@fakeway4_direct goto direct, @fakeway4_w3 goto w3, @fakeway4_w15 goto w15, @fakeway4 goto relay, @fakeblock4 goto relay"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("fake addresses are looked for in %s, want %s", got, want)
	}
}

func TestWhatIsNoBlockIsRefused(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	for _, b := range [][2]netip.Prefix{block("198.18.1.0/25"), block("198.18.1.1/24"), {1: netip.MustParsePrefix("2001:2::/64")}} {
		if err := table.AddFakeBlock(b[0], b[1]); err == nil {
			t.Errorf("AddFakeBlock of %v = nil, want an error", b)
		}
		if err := table.DelFakeBlocks(taking(b)); err == nil {
			t.Errorf("DelFakeBlocks of %v = nil, want an error", b)
		}
	}
}

func TestInstallAsksForTheFakeAddressesWhenNobodyCanAddAny(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	var added chan error
	check(t, "Install", table.Install(build(t, house()), func() Fakes {
		added = make(chan error, 1)
		go func() { added <- table.AddFake(addr("198.18.0.5"), netip.Addr{}) }() // has to wait
		var blocks [][2]netip.Prefix
		for i := range 3000 { // more than a transaction takes
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(i >> 8), byte(i), 0}), 24)
			blocks = append(blocks, [2]netip.Prefix{p})
		}
		return Fakes{Blocks: blocks, Pairs: [][2]netip.Addr{{addr("198.18.0.6")}}}
	}))
	check(t, "AddFake", <-added)
	wantElements(t, "after Install", "fakeway4", "198.18.0.5", "198.18.0.6")
	if got := len(elements(t, "fakeblock4")); got != 3000 {
		t.Errorf("fakeblock4 has %d elements, want 3000", got)
	}
}
