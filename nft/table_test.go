package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"golang.org/x/sys/unix"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// elements lists those of one set or map, without what time is left of them.
func elements(t testing.TB, name string) []string {
	t.Helper()
	needs(t, "nft")
	out := ""
	for _, kind := range []string{"set", "map"} {
		if listed, err := tryRun("", "nft", "list", kind, "inet", TableName, name); err == nil {
			out = listed
		}
	}
	found := elementList.FindStringSubmatch(out)
	if found == nil {
		return nil
	}
	var all []string
	for _, e := range strings.Split(found[1], ",") {
		e = strings.Join(strings.Fields(e), " ")
		all = append(all, regexp.MustCompile(` expires \S+`).ReplaceAllString(e, ""))
	}
	return all
}

func wantElements(t testing.TB, when, name string, want ...string) {
	t.Helper()
	got := elements(t, name)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s, %s has %q, want %q", when, name, got, want)
	}
}

func check(t testing.TB, doing string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", doing, err)
	}
}

func TestInstallBeatsInTheSameTransaction(t *testing.T) {
	install(t, enterNetNS(t), house())
	if got := len(elements(t, aliveSet)); got != 2 {
		t.Errorf("after Install %d families are alive, want 2", got)
	}
}

func TestABeatLastsThreeSecondsWhetherOneIsThereOrNot(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	for range 2 {
		check(t, "Beat", table.Beat())
		run(t, "", "nft", "list", "set", "inet", TableName, aliveSet)
		for _, e := range elements(t, aliveSet) {
			if !strings.HasSuffix(e, " timeout 3s") {
				t.Errorf("an element of alive is %q, want a timeout of 3s", e)
			}
		}
		run(t, "", "nft", "flush", "set", "inet", TableName, aliveSet)
	}
}

func TestInstallReplacesWhateverTableIsThere(t *testing.T) {
	ns := enterNetNS(t)
	run(t, "table inet fairlead { set home4 { type inet_service; }; chain stale { accept; }; }", "nft", "-f", "-")
	table := install(t, ns, house())
	want := listing(t)
	check(t, "Install", table.Install(build(t, house()), nil))
	if got := listing(t); withoutElements(got, aliveSet) != withoutElements(want, aliveSet) {
		t.Errorf("the second Install gives\n%s\nwant\n%s", got, want)
	}
}

func TestReloadGivesWhatInstallGives(t *testing.T) {
	for from, old := range configs() {
		for to, c := range configs() {
			t.Run(from+" to "+to, func(t *testing.T) {
				table := install(t, enterNetNS(t), c)
				want := withoutElements(listing(t), aliveSet)
				check(t, "Install", table.Install(build(t, old), nil))
				check(t, "Reload", table.Reload(build(t, c)))
				if got := sorted(withoutElements(listing(t), aliveSet)); got != sorted(want) {
					t.Errorf("Reload gives\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

// sorted puts the blocks of a listing into an order that does not depend on
// which of them are older.
func sorted(listing string) string {
	blocks := regexp.MustCompile(`\n\t(?:set|map|chain) `).Split(listing, -1)
	for i := range blocks {
		blocks[i] = strings.Trim(blocks[i], "\n}")
	}
	return strings.Join(sortStrings(blocks), "\n")
}

func TestReloadKeepsWhatWasLearned(t *testing.T) {
	table := install(t, enterNetNS(t), family3())
	check(t, "AddFake", table.AddFake(addr("198.18.0.5"), addr("2001:2::5")))
	check(t, "SetWay", table.SetWay(1, addr("198.51.100.7"), DirectWay, time.Minute))
	check(t, "SetWay", table.SetWay(3, addr("2001:db8::7"), DirectWay, time.Minute))
	c := family3()
	c.Groups = c.Groups[:3] // group 3 goes
	c.Members = c.Members[:2]
	c.Home = prefixes("10.0.0.0/8")
	check(t, "Reload", table.Reload(build(t, c)))

	wantElements(t, "after Reload", "fakeway4", "198.18.0.5")
	wantElements(t, "after Reload", "fakeway6", "2001:2::5")
	wantElements(t, "after Reload", "way4_g1", "198.51.100.7 timeout 1m")
	wantElements(t, "after Reload", "home4", "10.0.0.0/8")
	if out, err := tryRun("", "nft", "list", "set", "inet", TableName, "way6_g3"); err == nil {
		t.Errorf("the set of a group that went is still there:\n%s", out)
	}
}

func TestARefusedReloadLeavesTheOldTableAndNamesTheRule(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	want := listing(t)
	broken := build(t, family3())
	broken.chain("relay").rules[0] = line(in{field: iifname(), set: "absent"}, accept())

	err := table.Reload(broken)
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "the rule iifname @absent accept") {
		t.Errorf("Reload = %v, want ENOENT with the rule that was refused", err)
	}
	if got := listing(t); withoutElements(got, aliveSet) != withoutElements(want, aliveSet) {
		t.Errorf("after the refusal the table is\n%s\nwant\n%s", got, want)
	}
	check(t, "Reload", table.Reload(build(t, family3())))
}

func TestARefusedInstallLeavesTheOldTable(t *testing.T) {
	ns := enterNetNS(t)
	install(t, ns, house())
	want := withoutElements(listing(t), aliveSet)
	broken := build(t, family3())
	broken.chain("relay").rules[0] = line(in{field: iifname(), set: "absent"}, accept())
	if err := open(t, ns).Install(broken, nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Install = %v, want ENOENT", err)
	}
	if got := withoutElements(listing(t), aliveSet); got != want {
		t.Errorf("after the refusal the table is\n%s\nwant\n%s", got, want)
	}
}

func TestChangesOfATableThatIsNotInstalledAreRefused(t *testing.T) {
	table := open(t, enterNetNS(t))
	for doing, err := range map[string]error{
		"Beat":    table.Beat(),
		"Reload":  table.Reload(build(t, house())),
		"AddFake": table.AddFake(addr("198.18.0.5"), netip.Addr{}),
	} {
		if !errors.Is(err, ErrNotInstalled) {
			t.Errorf("%s = %v, want ErrNotInstalled", doing, err)
		}
	}
}

func TestDeleteNeedsNoTable(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	for range 2 {
		check(t, "Delete", table.Delete())
		if out := run(t, "", "nft", "list", "ruleset"); out != "" {
			t.Errorf("after Delete the ruleset is\n%s\nwant nothing", out)
		}
	}
}

func TestManyElementsAllArrive(t *testing.T) {
	const n = 5000
	c := house()
	c.Home, c.Members = nil, []Members{{}}
	var fakes [][2]netip.Addr
	four, six := addr("198.18.0.1"), addr("2001:2::1")
	for i := range n {
		c.Home = append(c.Home, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 25))
		c.Members[0].MACs = append(c.Members[0].MACs, policy.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)})
		fakes = append(fakes, [2]netip.Addr{four, six})
		four, six = four.Next(), six.Next()
	}
	table := open(t, enterNetNS(t))
	check(t, "Install", table.Install(build(t, c), func() Fakes { return Fakes{Pairs: fakes} }))
	var directs []Learned
	for _, f := range fakes {
		directs = append(directs, Learned{Addr: f[0], Way: DirectWay, TTL: time.Hour})
	}
	check(t, "SetWays", table.SetWays(directs))
	for _, name := range []string{"home4", "m0_mac", "fakeway4", "fakeway6", "way4_g0"} {
		if got := len(elements(t, name)); got != n {
			t.Errorf("%s has %d elements, want %d", name, got, n)
		}
	}
	check(t, "DelWays", table.DelWays(directs))
	wantElements(t, "after DelWays", "way4_g0")
}

func TestADirectAddressIsBelievedForTheTimeToldLast(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	for _, tt := range []struct {
		ttl  time.Duration
		want string
	}{
		{time.Minute, "1m"},
		{time.Hour, "1h"},
		{5 * time.Second, "5s"},
		{0, "1s"}, // to the kernel no time would be for ever
	} {
		check(t, "SetWay", table.SetWay(0, addr("198.51.100.7"), DirectWay, tt.ttl))
		wantElements(t, "after SetWay for "+tt.ttl.String(), "way4_g0", "198.51.100.7 timeout "+tt.want)
	}
}

func TestDeletingWhatIsNotThereIsFine(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.8"), DirectWay, time.Minute))
	check(t, "DelWay", table.DelWay(0, addr("198.51.100.7")))
	wantElements(t, "after DelWay of another", "way4_g0", "198.51.100.8 timeout 1m")
}

func TestAGroupThatIsDirectAnywayTakesNoAddress(t *testing.T) {
	table := install(t, enterNetNS(t), family3())
	check(t, "SetWay", table.SetWay(0, addr("198.51.100.7"), DirectWay, time.Minute))
	if err := table.SetWay(4, addr("198.51.100.7"), DirectWay, time.Minute); err == nil {
		t.Error("SetWay to a group that does not exist = nil, want an error")
	}
	if err := table.SetWay(1, addr("::ffff:198.51.100.7"), DirectWay, time.Minute); err == nil {
		t.Error("SetWay of a mapped address = nil, want an error")
	}
}

func TestSetsAreReplacedWhole(t *testing.T) {
	table := install(t, enterNetNS(t), family3())
	for range 8 { // a flush and an add of overlapping intervals in one transaction
		check(t, "SetHome", table.SetHome(prefixes("10.0.0.0/8", "10.1.0.0/16", "255.255.255.255/32", "fe80::/10")))
		wantElements(t, "after SetHome", "home4", "10.0.0.0/8", "255.255.255.255")
		wantElements(t, "after SetHome", "home6", "fe80::/10")
		check(t, "SetHome", table.SetHome(prefixes("10.1.0.0/16", "0.0.0.0/8")))
		wantElements(t, "after SetHome", "home4", "0.0.0.0/8", "10.1.0.0/16")
		wantElements(t, "after SetHome", "home6")
	}
	check(t, "SetMembers", table.SetMembers(0, []policy.MAC{{2, 0, 0, 0, 0, 9}}, prefixes("192.168.77.9/32", "2001:db8:77::/127")))
	wantElements(t, "after SetMembers", "m0_mac", "02:00:00:00:00:09")
	wantElements(t, "after SetMembers", "m0_4", "192.168.77.9")
	wantElements(t, "after SetMembers", "m0_6", "2001:db8:77::/127")
	if err := table.SetMembers(3, nil, nil); err == nil {
		t.Error("SetMembers of a section that does not exist = nil, want an error")
	}
}

func TestPresentSeesWhatOthersTookAway(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change []string
		want   bool
	}{
		{"nothing happened", nil, true},
		{"another table came", []string{"add", "table", "inet", "fw4"}, true},
		{"the ruleset was flushed", []string{"flush", "ruleset"}, false},
		{"a chain was flushed", []string{"flush", "chain", "inet", TableName, "relay"}, false},
		{"the table was emptied of rules", []string{"flush", "table", "inet", TableName}, false},
		{"a rule was added", []string{"add", "rule", "inet", TableName, "relay", "accept"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := install(t, enterNetNS(t), house())
			if tt.change != nil {
				run(t, "", "nft", tt.change...)
			}
			if got, err := table.Present(); got != tt.want || err != nil {
				t.Errorf("Present = %t, %v, want %t", got, err, tt.want)
			}
		})
	}
}

func TestWritersOfAllKindsDoNotDisturbEachOther(t *testing.T) {
	ns := enterNetNS(t)
	table := install(t, ns, house())
	var writers sync.WaitGroup
	failed := make(chan error, 400)
	for i := range 4 {
		writers.Go(func() {
			for j := range 25 {
				a := netip.AddrFrom4([4]byte{198, 51, byte(i), byte(j)})
				failed <- errors.Join(
					table.SetWay(0, a, DirectWay, time.Minute),
					table.Beat(),
					table.AddFake(netip.AddrFrom4([4]byte{198, 18, byte(i), byte(j)}), netip.Addr{}),
					table.DelWay(0, a))
			}
		})
	}
	for range 10 {
		check(t, "Reload", table.Reload(build(t, house())))
	}
	writers.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := len(elements(t, "fakeway4")); got != 100 {
		t.Errorf("fakeway4 has %d elements, want 100", got)
	}
	wantElements(t, "after all", "way4_g0")
}

func BenchmarkAddFake(b *testing.B) {
	table := install(b, enterNetNS(b), house())
	four, six := addr("198.18.0.1"), addr("2001:2::1")
	for b.Loop() {
		four, six = four.Next(), six.Next()
		check(b, "AddFake", table.AddFake(four, six))
	}
}

func BenchmarkSetWay(b *testing.B) {
	table := install(b, enterNetNS(b), house())
	a := addr("11.0.0.1")
	for b.Loop() {
		a = a.Next()
		check(b, "SetWay", table.SetWay(0, a, DirectWay, time.Minute))
	}
}

func BenchmarkReload(b *testing.B) {
	table := install(b, enterNetNS(b), family3())
	rs := build(b, family3())
	for b.Loop() {
		check(b, "Reload", table.Reload(rs))
	}
}
