package route

import (
	"slices"
	"testing"
)

func TestDefaultRoutesTellTheWAN(t *testing.T) {
	enter(t)
	want := func(when string, devices ...string) {
		t.Helper()
		if got, err := DefaultDevices(); err != nil || !slices.Equal(got, devices) {
			t.Errorf("%s: DefaultDevices = %v, %v; want %v", when, got, err, devices)
		}
	}
	want("without routes")
	for _, dev := range []string{"wan", "backup", "tunnel"} {
		ip(t, "link add "+dev+" type veth peer name "+dev+"-peer")
		ip(t, "link set "+dev+" up")
		ip(t, "link set "+dev+"-peer up")
	}
	ip(t, "route add 192.0.2.0/24 dev tunnel")
	ip(t, "route add default dev wan table 77")
	want("with others only")
	ip(t, "route add default dev backup metric 20")
	want("with one", "backup")
	ip(t, "route add default dev wan metric 10")
	want("with a better one", "wan")
	ip(t, "-6 route add default dev tunnel")
	want("with one of IPv6, too", "tunnel", "wan")
	if got, err := AllDefaultDevices(); err != nil || !slices.Equal(got, []string{"backup", "tunnel", "wan"}) {
		t.Errorf("AllDefaultDevices = %v, %v; want all of them", got, err)
	}
}
