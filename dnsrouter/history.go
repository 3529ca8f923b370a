package dnsrouter

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

const (
	// remembered is how long a device is taken to use an answer at least.
	remembered = time.Hour
	// maxPerDevice and maxHistory bound the addresses that are remembered of
	// one device and of all together; any older one makes room.
	maxPerDevice = 512
	maxHistory   = 8192
	// maxGiven bounds the names remembered for one address of one device.
	maxGiven = 8
)

// History remembers which names each device was given an address for. A device
// is known by its hardware address, so a name asked for over IPv4 counts for a
// flow from any of its IPv6 addresses.
type History struct {
	mu      sync.Mutex // guards the fields below
	devices map[policy.DeviceKey]map[netip.Addr][]given
	size    int
}

type given struct {
	name  string
	until time.Time
}

func newHistory() *History {
	return &History{devices: make(map[policy.DeviceKey]map[netip.Addr][]given)}
}

// NamesOf gives the names for which a device was given addr, latest first.
func (h *History) NamesOf(d policy.Device, addr netip.Addr) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	var names []string
	for _, g := range h.devices[d.Key()][addr] {
		if g.until.After(now) {
			names = append(names, g.name)
		}
	}
	return names
}

// record takes note that a device is given addrs for name.
func (h *History) record(d policy.Device, name string, addrs []netip.Addr, ttl time.Duration, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := d.Key()
	of := h.devices[key]
	if of == nil {
		of = make(map[netip.Addr][]given)
		h.devices[key] = of
	}
	until := now.Add(max(ttl, remembered))
	for _, addr := range addrs {
		names, had := of[addr]
		if !had {
			h.makeRoom(of)
			h.size++
		}
		of[addr] = latest(names, name, until, now)
	}
}

// latest puts a name before the others of an address.
func latest(names []given, name string, until, now time.Time) []given {
	if i := slices.IndexFunc(names, func(g given) bool { return g.name == name }); i >= 0 {
		g := given{names[i].name, later(names[i].until, until)}
		copy(names[1:i+1], names[:i])
		names[0] = g
		return names
	}
	names = slices.DeleteFunc(names, func(g given) bool { return g.until.Before(now) })
	return slices.Insert(names[:min(len(names), maxGiven-1)], 0, given{strings.Clone(name), until})
}

// makeRoom drops an address where a bound is reached: one of the same device,
// or else of any.
func (h *History) makeRoom(of map[netip.Addr][]given) {
	if len(of) >= maxPerDevice {
		h.dropOne(of)
		return
	}
	if h.size < maxHistory {
		return
	}
	for _, other := range h.devices {
		if len(other) > 0 {
			h.dropOne(other)
			return
		}
	}
}

func (h *History) dropOne(of map[netip.Addr][]given) {
	for addr := range of {
		delete(of, addr)
		h.size--
		return
	}
}

func (h *History) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, of := range h.devices {
		for addr, names := range of {
			names = slices.DeleteFunc(names, func(g given) bool { return g.until.Before(now) })
			if of[addr] = names; len(names) == 0 {
				delete(of, addr)
				h.size--
			}
		}
		if len(of) == 0 {
			delete(h.devices, key)
		}
	}
}
