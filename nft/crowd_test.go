package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// crowded is a table beside n addresses of each kind: learned, fake, and from
// the configuration.
func crowded(t testing.TB, n int) *Table {
	c := outwards()
	c.Groups[0].Addrs = rows(n, DirectWay, addr("20.0.0.0"))
	table := open(t, enterNetNS(t))
	learned, four, six := addr("11.0.0.1"), addr("198.18.1.0"), addr("2001:2::1:0")
	var ways []Learned
	var fakes [][2]netip.Addr
	for range n {
		learned, four, six = learned.Next(), four.Next(), six.Next()
		ways = append(ways, Learned{Addr: learned, Way: DirectWay, TTL: time.Hour})
		fakes = append(fakes, [2]netip.Addr{four, six})
	}
	check(t, "Install", table.Install(build(t, c), func() Fakes { return Fakes{Pairs: fakes} }))
	check(t, "SetWays", table.SetWays(ways))
	return table
}

func TestAChangeCostsTheSameHoweverManyAddressesAreKnown(t *testing.T) {
	alone, beside := crowded(t, 0), crowded(t, 20000)
	const most = 5 // times as dear; maps of verdicts made it 20 and more
	real := addr("198.51.100.7")
	for _, tt := range []struct {
		name   string
		change func(table *Table, i byte) error
	}{
		{"an address that leaves directly", func(table *Table, i byte) error {
			return table.SetWay(0, netip.AddrFrom4([4]byte{10, 0, 0, i}), DirectWay, time.Minute)
		}},
		{"an address that leaves through an interface", func(table *Table, i byte) error {
			return table.SetWay(0, netip.AddrFrom4([4]byte{10, 0, 1, i}), InterfaceWay(3), time.Minute)
		}},
		{"a fake address that is relayed", func(table *Table, i byte) error {
			return table.AddFake(netip.AddrFrom4([4]byte{198, 18, 0, i}), netip.Addr{})
		}},
		{"a fake address that leaves through an interface", func(table *Table, i byte) error {
			return table.SetFake(netip.AddrFrom4([4]byte{198, 18, 0, i}), real, InterfaceWay(3))
		}},
		{"the heartbeat", func(table *Table, _ byte) error { return table.Beat() }},
	} {
		var few, many []time.Duration
		for i := range byte(41) { // by turns, so that what else the machine does hits both
			few = append(few, took(t, func() error { return tt.change(alone, i) }))
			many = append(many, took(t, func() error { return tt.change(beside, i) }))
		}
		if a, b := median(few), median(many); b > most*a {
			t.Errorf("%s takes %s beside 20,000 of each kind and %s alone, want at most %d times as long", tt.name, b, a, most)
		} else {
			t.Logf("%s takes %s beside 20,000 of each kind and %s alone", tt.name, b, a)
		}
	}
}

func took(t testing.TB, do func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	check(t, "changing the table", do())
	return time.Since(begin)
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkSetWayAmong tells what one more address costs when others are
// known already.
func BenchmarkSetWayAmong(b *testing.B) {
	for _, known := range []int{0, 4000, 16000, 65000} {
		b.Run(fmt.Sprint(known), func(b *testing.B) {
			table := install(b, enterNetNS(b), house())
			a := addr("11.0.0.1")
			var crowd []Learned
			for range known {
				a = a.Next()
				crowd = append(crowd, Learned{Addr: a, Way: DirectWay, TTL: time.Hour})
			}
			check(b, "SetWays", table.SetWays(crowd))
			for b.Loop() {
				a = a.Next()
				check(b, "SetWay", table.SetWay(0, a, DirectWay, time.Minute))
			}
		})
	}
}

// BenchmarkAddFakeAmong is the same for fake addresses.
func BenchmarkAddFakeAmong(b *testing.B) {
	for _, known := range []int{0, 4000, 16000, 65000} {
		b.Run(fmt.Sprint(known), func(b *testing.B) {
			table := open(b, enterNetNS(b))
			four, six := addr("198.18.0.1"), addr("2001:2::1")
			var crowd [][2]netip.Addr
			for range known {
				four, six = four.Next(), six.Next()
				crowd = append(crowd, [2]netip.Addr{four, six})
			}
			check(b, "Install", table.Install(build(b, house()), func() Fakes { return Fakes{Pairs: crowd} }))
			for b.Loop() {
				four, six = four.Next(), six.Next()
				check(b, "AddFake", table.AddFake(four, six))
			}
		})
	}
}

// BenchmarkBeatAmong is what a heartbeat costs beside addresses of all kinds.
func BenchmarkBeatAmong(b *testing.B) {
	for _, known := range []int{0, 16000, 65000} {
		b.Run(fmt.Sprint(known), func(b *testing.B) {
			table := crowded(b, known)
			for b.Loop() {
				check(b, "Beat", table.Beat())
			}
		})
	}
}
