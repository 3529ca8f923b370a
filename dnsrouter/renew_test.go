package dnsrouter

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// TestAnAddressOfManyAnswersIsRenewedRarely because each renewal is a transaction.
func TestAnAddressOfManyAnswersIsRenewedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 5 * time.Minute
		plan := &Plan{Policy: policy.New(household(t)), Learns: []bool{true, true, false, true}}
		kernel := newKernelMap()
		renewals := 0
		kernel.fails = func() bool { renewals++; return false }
		l := newLearned(kernel, plan)
		shared := place{0, netip.MustParseAddr("198.51.100.1")}
		for minute := range 60 {
			for n := range 5 {
				if err := l.answer(0, fmt.Sprintf("n%d.direct.example", n), []netip.Addr{shared.addr}, ttl, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if left := time.Until(kernel.until[shared]); left < ttl+grace/2 {
				t.Fatalf("in minute %d the address has %s left, want %s at least", minute, left, ttl+grace/2)
			}
			time.Sleep(time.Minute)
		}
		if most := int(time.Hour/(grace/2)) + 1; renewals > most {
			t.Errorf("300 answers in an hour renewed the address %d times, want %d at most", renewals, most)
		}
	})
}
