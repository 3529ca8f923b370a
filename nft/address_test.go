package nft

import (
	"net/netip"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestAddressesThatOverlapOrAreOutOfOrderAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		addrs []AddrWay
		want  string
	}{
		{"one within another", addrWays(Relay, "10.0.0.0/8", "10.1.0.0/16"), "overlap"},
		{"the same twice", addrWays(Relay, "10.0.0.0/8", "10.0.0.0/8"), "overlap"},
		{"the larger first", addrWays(Relay, "11.0.0.0/8", "10.0.0.0/8"), "comes behind"},
		{"IPv6 first", addrWays(Relay, "2001:db8::/32", "10.0.0.0/8"), "comes behind"},
		{"bits behind the mask", addrWays(Relay, "10.0.0.1/8"), "is no prefix"},
		{"an interface that does not exist", addrWays(InterfaceWay(9), "10.0.0.0/8"), "no interface 9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := house()
			c.Groups[0].Addrs = tt.addrs
			if _, err := Build(c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Build = %v, want it to say %q", err, tt.want)
			}
		})
	}
}

// rows is n prefixes from an address on, each of 256 addresses and apart from the next.
func rows(n int, way Way, from netip.Addr) []AddrWay {
	all := make([]AddrWay, n)
	for i := range all {
		bits := 24
		data := from.AsSlice()
		place := len(data) - 4 // of the first byte that is counted up
		if from.Is6() {
			bits, place = 120, 4
		}
		data[place], data[place+1], data[place+2] = data[place]+byte(i>>15), byte(i>>7), byte(i<<1)
		a, _ := netip.AddrFromSlice(data)
		all[i] = AddrWay{netip.PrefixFrom(a, bits), way}
	}
	return all
}

func withAddrs(addrs []AddrWay) Config {
	c := outwards()
	c.Groups = []Group{{Mode: policy.RealIP, Rest: RestRelay, Addrs: addrs}}
	return c
}

// mapLength counts the prefixes of the one address map of a family that are not refused.
func mapLength(t testing.TB, table *Table, f family) int {
	t.Helper()
	maps := slices.DeleteFunc(table.installed().addressMaps(nil), func(s set) bool { return s.key[0] != f.datatype() })
	if len(maps) != 1 {
		t.Fatalf("there are %d address maps of %s, want 1", len(maps), f.name)
	}
	leave := slices.DeleteFunc(elements(t, maps[0].name), func(e string) bool {
		return !strings.HasSuffix(e, "goto direct") && !strings.HasSuffix(e, "goto w3")
	})
	return len(leave)
}

func TestNoAddressOfALargeMapIsLost(t *testing.T) {
	const n = 5000 // one message of google/nftables cuts off what is beyond 819 prefixes
	all := slices.Concat(rows(n, DirectWay, addr("20.0.0.0")), rows(n, InterfaceWay(3), addr("2001:db8::")))
	table := install(t, enterNetNS(t), withAddrs(all))
	for _, f := range families() {
		if got := mapLength(t, table, f); got != n {
			t.Errorf("after Install the map of %s has %d prefixes, want %d", f.name, got, n)
		}
	}
	all[0].Way = Refuse // so that the map is another one
	check(t, "Reload", table.Reload(build(t, withAddrs(all[:n]))))
	if got := mapLength(t, table, v4()); got != n-1 {
		t.Errorf("after Reload the map has %d prefixes that leave directly, want %d", got, n-1)
	}
}

func TestALargeMapTakesLittleMemory(t *testing.T) {
	const n, bound = 20000, 8 << 20
	table := install(t, enterNetNS(t), outwards())
	rs := build(t, withAddrs(rows(n, DirectWay, addr("20.0.0.0"))))
	if got := peak(func() { check(t, "Reload", table.Reload(rs)) }); got > bound {
		t.Errorf("loading %d prefixes takes %d KiB, want at most %d", n, got>>10, bound>>10)
	} else {
		t.Logf("loading %d prefixes takes %d KiB", n, got>>10)
	}
}

// peak is by how much objects on the heap, dead ones too, exceed what they were,
// at most, while do runs.
func peak(do func()) uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before, most := read(), uint64(0)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				most = max(most, read())
			case <-done:
				return
			}
		}
	}()
	do()
	close(done)
	<-stopped
	return max(most, before) - before
}

func TestAMapThatStaysIsNotSentAgain(t *testing.T) {
	c := withAddrs(rows(3000, DirectWay, addr("20.0.0.0")))
	table := install(t, enterNetNS(t), c)
	run(t, "", "nft", "flush", "map", "inet", TableName, table.installed().addressMaps(nil)[0].name)
	c.Home = nil
	check(t, "Reload", table.Reload(build(t, c)))
	if got := mapLength(t, table, v4()); got != 0 {
		t.Errorf("after a Reload with the same addresses the map has %d of them anew, want none", got)
	}
}

func TestAMapThatNobodyWantsIsDeleted(t *testing.T) {
	table := install(t, enterNetNS(t), withAddrs(rows(10, DirectWay, addr("20.0.0.0"))))
	check(t, "Reload", table.Reload(build(t, outwards())))
	if out := run(t, "", "nft", "list", "maps"); strings.Contains(out, "addr4") {
		t.Errorf("after Reload there is\n%s\nwant no address map", out)
	}
}

func TestARefusedReloadLeavesNoMapBehind(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	want := withoutElements(listing(t), aliveSet)
	broken := build(t, mapped())
	broken.chain("relay").rules[0] = line(in{field: iifname(), set: "absent"}, accept())
	if err := table.Reload(broken); err == nil {
		t.Fatal("Reload = nil, want an error")
	}
	if got := withoutElements(listing(t), aliveSet); got != want {
		t.Errorf("after the refusal the table is\n%s\nwant\n%s", got, want)
	}
}

func TestTheKernelFindsEachAddressInItsPrefix(t *testing.T) {
	needs(t, "nft")
	table := install(t, enterNetNS(t), mapped())
	for _, s := range table.installed().addressMaps(nil) {
		if s.key[0] != ipv4Addr() || len(s.addrs) < 2 {
			continue
		}
		for a, want := range map[string]string{
			"0.0.0.0": "direct", "10.127.255.255": "direct", "10.128.0.0": "goto w3", "10.255.255.255": "goto w3",
			"11.0.0.0": "return", "11.0.0.1": "refuse", "255.255.255.255": "direct", "11.0.0.2": "", "255.255.255.254": "",
		} {
			got, err := tryRun("", "nft", "get", "element", "inet", TableName, s.name, "{ "+a+" }")
			if err != nil {
				got = ""
			}
			if !strings.Contains(got, want) || want == "" && got != "" {
				t.Errorf("%s is found as %q, want %q", a, got, want)
			}
		}
	}
}
