package nft

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkAddDirectAmong tells what one more address costs when others are
// known already: the kernel walks a map whose elements jump with each
// transaction that touches such a map (nft_table_validate).
func BenchmarkAddDirectAmong(b *testing.B) {
	for _, known := range []int{0, 1000, 4000, 16000} {
		b.Run(fmt.Sprint(known), func(b *testing.B) {
			table := install(b, enterNetNS(b), house())
			a := addr("11.0.0.1")
			var crowd []Direct
			for range known {
				a = a.Next()
				crowd = append(crowd, Direct{Group: 0, Addr: a, TTL: time.Hour})
			}
			check(b, "AddDirects", table.AddDirects(crowd))
			for b.Loop() {
				a = a.Next()
				check(b, "AddDirect", table.AddDirect(0, a, time.Minute))
			}
		})
	}
}

// BenchmarkAddFakeAmong is the same for fake addresses.
func BenchmarkAddFakeAmong(b *testing.B) {
	for _, known := range []int{0, 4000, 16000, 65000} {
		b.Run(fmt.Sprint(known), func(b *testing.B) {
			table := install(b, enterNetNS(b), house())
			four, six := addr("198.18.0.1"), addr("2001:2::1")
			var crowd [][2]netip.Addr
			for range known {
				four, six = four.Next(), six.Next()
				crowd = append(crowd, [2]netip.Addr{four, six})
			}
			check(b, "AddFakes", table.AddFakes(crowd))
			for b.Loop() {
				four, six = four.Next(), six.Next()
				check(b, "AddFake", table.AddFake(four, six))
			}
		})
	}
}
