package route

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/nft/mark"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func config() Config {
	return Config{Fake4: netip.MustParsePrefix("198.18.0.0/15"), Fake6: netip.MustParsePrefix("2001:2::/64")}
}

func apply(t *testing.T, c Config) {
	t.Helper()
	if _, err := Apply(c); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

// state is all that Apply may change, as ip shows it.
func state(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, command := range []string{"rule show", "-6 rule show", "route show table all", "-6 route show table all"} {
		all.WriteString(ip(t, command))
	}
	return all.String()
}

func TestWhatApplyAddsIsWhatIPShows(t *testing.T) {
	enter(t)
	apply(t, config())
	got := state(t)
	for _, want := range []string{
		"899:\tfrom all fwmark 0x1000000/0xf000000 iif lo lookup main proto 250",
		"900:\tfrom all fwmark 0x1000000/0xf000000 lookup 1000 proto 250",
		"local default dev lo table 1000 proto 250",
		"unreachable 198.18.0.0/15 proto 250",
		"unreachable 2001:2::/64 dev lo proto 250",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("after Apply ip shows\n%s\nwant a line %q", got, want)
		}
	}
}

func TestApplyingTwiceChangesNothing(t *testing.T) {
	enter(t)
	apply(t, config())
	want := state(t)
	apply(t, config())
	if got := state(t); got != want {
		t.Errorf("after the second Apply:\n%s\nwant\n%s", got, want)
	}
}

func TestAnotherFakeRangeReplacesTheOld(t *testing.T) {
	enter(t)
	c := config()
	c.Fake4 = netip.MustParsePrefix("100.64.0.0/16")
	apply(t, c)
	want := state(t)
	if err := Remove(); err != nil {
		t.Fatal(err)
	}
	apply(t, config())
	apply(t, c)
	if got := state(t); got != want {
		t.Errorf("after a change of the range:\n%s\nwant\n%s", got, want)
	}
}

func TestRemoveDeletesOursAndOnlyOurs(t *testing.T) {
	enter(t)
	ip(t, "rule add pref 905 fwmark 0x1000000/0xf000000 lookup 1001")
	ip(t, "route add local 192.0.2.0/24 dev lo table 1000")
	ip(t, "-6 route add unreachable 2001:db8:1::/64")
	want := state(t)
	apply(t, config())
	for range 2 {
		if err := Remove(); err != nil {
			t.Fatalf("Remove: %v", err)
		}
		if got := state(t); got != want {
			t.Errorf("after Remove:\n%s\nwant\n%s", got, want)
		}
	}
}

func TestARouteOfTheUsersForTheFakeRangeStays(t *testing.T) {
	enter(t)
	ip(t, "route add blackhole 198.18.0.0/15")
	want := state(t)
	apply(t, config())
	if err := Remove(); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	if got := state(t); got != want {
		t.Errorf("after Apply and Remove:\n%s\nwant\n%s", got, want)
	}
}

func TestALoopbackThatIsDownIsNamed(t *testing.T) {
	enter(t)
	ip(t, "link set lo down")
	if _, err := Apply(config()); err == nil || !strings.Contains(err.Error(), "loopback interface is down") {
		t.Errorf("Apply = %v, want it to say that the loopback interface is down", err)
	}
}

func TestWithoutIPv6TheRoutesOfIPv4AreThere(t *testing.T) {
	enter(t)
	sysctl(t, "net/ipv6/conf/all/disable_ipv6", "1")
	apply(t, config())
	if got := ip(t, "route show table 1000"); !strings.Contains(got, "local default") {
		t.Errorf("table 1000 is %q, want the local default route", got)
	}
	if err := Remove(); err != nil {
		t.Errorf("Remove: %v", err)
	}
}

func TestConnectedListsEveryNetworkOnce(t *testing.T) {
	enter(t)
	ip(t, "link add br0 type bridge")
	ip(t, "link add br1 type bridge")
	ip(t, "addr add 192.168.77.1/24 dev br0")
	ip(t, "addr add 192.168.77.2/24 dev br0")
	ip(t, "addr add 2001:db8:77::1/64 dev br0 nodad")
	ip(t, "addr add 10.0.0.2 peer 10.0.0.1/32 dev br1")
	home, lan, err := Connected([]string{"br0", "absent"})
	if err != nil {
		t.Fatal(err)
	}
	want := prefixList("10.0.0.1/32", "10.0.0.2/32", "192.168.77.0/24", "2001:db8:77::/64", "fe80::/10")
	if !slices.Equal(home, want) {
		t.Errorf("home = %v, want %v", home, want)
	}
	wantLAN := prefixList("192.168.77.0/24", "192.168.77.0/24", "2001:db8:77::/64")
	slices.SortFunc(lan["br0"], netip.Prefix.Compare)
	if len(lan) != 1 || !slices.Equal(lan["br0"], wantLAN) {
		t.Errorf("lan = %v, want %v of br0 only", lan, wantLAN)
	}
}

func prefixList(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestOnlyEntriesWithOurMarkAreDeleted(t *testing.T) {
	enter(t)
	marks := []uint32{0, mark.Carried, mark.Carried | 0x300, mark.Own}
	for i, m := range marks {
		flow := &netlink.ConntrackFlow{
			FamilyType: unix.AF_INET, Mark: m, TimeOut: 100,
			Forward: tuple(uint16(1000+i), 9), Reverse: reverse(tuple(uint16(1000+i), 9)),
		}
		if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, flow); err != nil {
			t.Fatalf("creating a conntrack entry with mark %#x: %v", m, err)
		}
	}
	n, err := DeleteCarried()
	if err != nil || n != 2 {
		t.Errorf("DeleteCarried = %d, %v, want 2 deleted", n, err)
	}
	left, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if f.Mark&mark.Mask == mark.Carried {
			t.Errorf("an entry with mark %#x is left", f.Mark)
		}
	}
	if len(left) != 2 {
		t.Errorf("%d entries are left, want 2", len(left))
	}
}

func tuple(from, to uint16) netlink.IPTuple {
	return netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{192, 0, 2, 2}, SrcPort: from, DstPort: to}
}

func reverse(t netlink.IPTuple) netlink.IPTuple {
	t.SrcIP, t.DstIP, t.SrcPort, t.DstPort = t.DstIP, t.SrcIP, t.DstPort, t.SrcPort
	return t
}

func TestBridgeNetfilterIsOffUntilItIsRestored(t *testing.T) {
	enter(t)
	file := filepath.Join(t.TempDir(), "sysctl")
	sysctl(t, bridgeSettings()[0], "1")
	sysctl(t, bridgeSettings()[1], "0")

	changed, err := PassBridged(file)
	if err != nil || !slices.Equal(changed, bridgeSettings()[:1]) {
		t.Fatalf("PassBridged = %q, %v, want %q", changed, err, bridgeSettings()[:1])
	}
	wantSysctl(t, bridgeSettings()[0], "0")

	if changed, err := PassBridged(file); err != nil || changed != nil { // a restart after a crash
		t.Fatalf("PassBridged again = %q, %v, want nothing to change", changed, err)
	}
	for range 2 {
		if err := Restore(file); err != nil {
			t.Fatalf("Restore: %v", err)
		}
		wantSysctl(t, bridgeSettings()[0], "1")
		wantSysctl(t, bridgeSettings()[1], "0")
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("after Restore the state file gives %v, want it gone", err)
	}
}

func wantSysctl(t *testing.T, name, want string) {
	t.Helper()
	if got, err := readSysctl(name); err != nil || got != want {
		t.Errorf("%s = %q, %v, want %q", name, got, err, want)
	}
}

func TestAStateFileCutAnywhereRestoresWhatItHas(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sysctl")
	if err := writeState(file, map[string]string{bridgeSettings()[0]: "1", bridgeSettings()[1]: "1"}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readState(file)
		if err != nil {
			t.Errorf("cut at byte %d: %v", n, err)
		}
		for name, value := range got {
			if value != "1" {
				t.Errorf("cut at byte %d: %s = %q, want 1 or nothing", n, name, value)
			}
		}
	}
}
