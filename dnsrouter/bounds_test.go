package dnsrouter

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// number is the n-th address of a range that is large enough.
func number(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(n >> 16), byte(n >> 8), byte(n)})
}

func device(n int) policy.Device {
	return policy.Device{MAC: policy.MAC{2, 0, byte(n >> 16), byte(n >> 8), byte(n), 1}}
}

func TestHistoryTellsTheLatestNameFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := newHistory(), device(1)
		for _, name := range []string{"a", "b", "c", "a"} {
			h.record(d, name, []netip.Addr{number(1)}, 0, time.Now())
			time.Sleep(time.Second)
		}
		if got, want := h.NamesOf(d, number(1)), []string{"a", "c", "b"}; !slices.Equal(got, want) {
			t.Errorf("names = %q, want %q", got, want)
		}
		if got := h.NamesOf(device(2), number(1)); len(got) > 0 {
			t.Errorf("another device was given the address for %q", got)
		}
		time.Sleep(remembered)
		if got := h.NamesOf(d, number(1)); len(got) > 0 {
			t.Errorf("after an hour the names are %q", got)
		}
	})
}

func TestHistoryKnowsADeviceByItsHardwareAddress(t *testing.T) {
	h := newHistory()
	over4, over6 := device(1), device(1)
	over4.Addr, over6.Addr = netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("2001:db8::10")
	h.record(over4, "a", []netip.Addr{number(1)}, 0, time.Now())
	if got := h.NamesOf(over6, number(1)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("over IPv6 the names are %q, want a", got)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h, now := newHistory(), time.Now()
	for n := range maxPerDevice + 100 {
		h.record(device(0), "a", []netip.Addr{number(n)}, 0, now)
	}
	if got := len(h.devices[device(0).Key()]); got != maxPerDevice {
		t.Errorf("%d addresses of one device, want %d", got, maxPerDevice)
	}
	for n := range 2 * maxGiven {
		h.record(device(0), fmt.Sprint(n), []netip.Addr{number(1)}, 0, now)
	}
	if got := h.NamesOf(device(0), number(1)); len(got) != maxGiven || got[0] != fmt.Sprint(2*maxGiven-1) {
		t.Errorf("the names of one address are %q, want the latest %d", got, maxGiven)
	}
	for n := range maxHistory + 100 {
		h.record(device(n/100+1), "a", []netip.Addr{number(n)}, 0, now)
	}
	held := 0
	for _, of := range h.devices {
		held += len(of)
	}
	if held != maxHistory || h.size != held {
		t.Errorf("%d addresses of all devices, counted as %d; want %d", held, h.size, maxHistory)
	}
	h.sweep(now.Add(remembered + time.Second))
	if len(h.devices) > 0 || h.size != 0 {
		t.Errorf("after their time %d devices are left, and %d addresses", len(h.devices), h.size)
	}
}

func TestPlacesAreSharedOut(t *testing.T) {
	p := newPlaces(3, 2)
	enter := func(n int, want bool) {
		t.Helper()
		if got := p.enter(device(n).Key()); got != want {
			t.Errorf("client %d enters: %t, want %t", n, got, want)
		}
	}
	enter(1, true)
	enter(1, true)
	enter(1, false) // its share
	enter(2, true)
	enter(3, false) // all
	p.leave(device(1).Key())
	enter(3, true)
	for _, n := range []int{1, 2, 3} {
		p.leave(device(n).Key())
	}
	if p.all != 0 || len(p.of) > 0 {
		t.Errorf("when all have left, %d places are taken, by %v", p.all, p.of)
	}
}

func TestAnAddressThatThereWasNoRoomForIsNotDirectWhileItsNamesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := &Plan{Policy: policy.New(household(t)), Learns: []bool{true, true, false, true}}
		kernel := newKernelMap()
		l := newLearned(kernel, plan)
		answer := func(name string, addr netip.Addr, ttl time.Duration) {
			t.Helper()
			if err := l.answer(0, name, []netip.Addr{addr}, ttl, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		for n := range maxAddrs {
			answer("www.node.example", number(n), 0)
		}
		crowded := number(maxAddrs)
		answer("www.node.example", crowded, time.Hour)
		if len(l.addrs) != maxAddrs {
			t.Errorf("%d addresses are remembered, want %d", len(l.addrs), maxAddrs)
		}
		time.Sleep(grace + time.Second)
		l.sweep(time.Now()) // now there is room
		answer("www.direct.example", crowded, 0)
		if kernel.has(place{0, crowded}) {
			t.Errorf("%s is direct, though it is www.node.example for an hour", crowded)
		}
		time.Sleep(time.Hour + grace)
		answer("www.direct.example", crowded, 0)
		if !kernel.has(place{0, crowded}) {
			t.Errorf("%s is not direct when its other name has ended", crowded)
		}
	})
}
