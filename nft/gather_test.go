package nft

import (
	"net/netip"
	"sync"
	"testing"
)

func TestFakeAddressesAddedTogetherAreAllInTheKernel(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	const callers = 200
	var all sync.WaitGroup
	for i := range callers {
		all.Add(1)
		go func() {
			defer all.Done()
			v4 := netip.AddrFrom4([4]byte{198, 18, 0, byte(i + 1)})
			v6 := netip.AddrFrom16([16]byte{0x20, 0x01, 0, 2, 15: byte(i + 1)})
			if err := table.AddFake(v4, v6); err != nil {
				t.Errorf("adding %s: %v", v4, err)
			}
		}()
	}
	all.Wait()
	for _, set := range []string{"fakeway4", "fakeway6"} {
		if got := len(elements(t, set)); got != callers {
			t.Errorf("%s has %d elements, want %d", set, got, callers)
		}
	}
}
