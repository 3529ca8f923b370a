package dnsrouter

import (
	"net/netip"
	"sync"

	"github.com/fairlead/fairlead/gateway/policy"
)

const (
	// maxInFlight and maxInFlightEach bound the questions that wait for another
	// resolver, of all devices and of one. maxNearby and maxNearbyEach are those of
	// them that wait for the one of this machine: whatever upstreams do, local names
	// have a quarter. Answers that are here already (from the cache, local ones, fake
	// ones) need no place at all.
	maxInFlight     = 512 - maxNearby
	maxInFlightEach = 128
	maxNearby       = 128
	maxNearbyEach   = 32
	// maxWaiting and maxWaitingEach bound the questions over UDP that wait for
	// anything at all. Beyond them they are lost, as in any full queue, so a
	// flood of one device's questions does not lose those of others.
	maxWaiting     = 1024
	maxWaitingEach = 256
)

// share tells by what a client is counted. Whoever is not known counts by the
// address, over IPv6 by the network: a device has as many addresses there as it
// likes.
func (r *Router) share(client netip.Addr) policy.DeviceKey {
	if d, known := r.deps.Devices.Known(client); known {
		return shareOf(d)
	}
	return shareOf(policy.Device{Addr: client})
}

func shareOf(d policy.Device) policy.DeviceKey {
	if d.MAC == (policy.MAC{}) && d.Addr.Is6() {
		d.Addr = netip.PrefixFrom(d.Addr.WithZone(""), 64).Masked().Addr()
	}
	return d.Key()
}

// places are a bounded number of places, of which one device has a share only.
type places struct {
	most, each int

	mu  sync.Mutex // guards the fields below
	all int
	of  map[policy.DeviceKey]int
}

func newPlaces(most, each int) *places {
	return &places{most: most, each: each, of: make(map[policy.DeviceKey]int)}
}

func (p *places) enter(device policy.DeviceKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= p.most || p.of[device] >= p.each {
		return false
	}
	p.all++
	p.of[device]++
	return true
}

func (p *places) leave(device policy.DeviceKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.of[device]--; p.of[device] == 0 {
		delete(p.of, device)
	}
}
