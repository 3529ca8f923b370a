package dnsrouter

import (
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/fakeip"
	"github.com/fairlead/fairlead/gateway/policy"
)

const (
	// turnsEach is how many questions over UDP a device may ask in a second while
	// others ask, too. No household's device needs a tenth of it, and no router is
	// busy with it; the rest of a flood costs its reading only.
	turnsEach = 3000
	// Of a pool of fake addresses of which more than 1-1/poolReserve was used, a
	// device may take 1/poolShare in takingTime, and at least minTaking.
	poolReserve = 8
	poolShare   = 32
	minTaking   = 16
	takingTime  = time.Hour
	// maxTally bounds the devices that are counted apart.
	maxTally = 1024
)

// tally counts what each device did in the present period.
type tally struct {
	period time.Duration
	began  time.Time
	before int // devices of the period before
	of     map[policy.DeviceKey]int
}

// add counts one more of a device, and gives how many it had in the period.
func (t *tally) add(device policy.DeviceKey, now time.Time) int {
	if now.Sub(t.began) >= t.period {
		t.began, t.before = now, len(t.of)
		clear(t.of)
	}
	if t.of == nil {
		t.of = make(map[policy.DeviceKey]int)
	}
	if _, known := t.of[device]; !known && len(t.of) >= maxTally {
		device = policy.DeviceKey{} // all others together
	}
	t.of[device]++
	return t.of[device]
}

// turns share the reader of questions out. A device that is the only one to ask
// may ask as much as it likes.
type turns struct {
	share  func(netip.Addr) policy.DeviceKey
	tally  tally
	last   netip.Addr // who asked last, and by what that client is counted
	device policy.DeviceKey
}

func newTurns(share func(netip.Addr) policy.DeviceKey) *turns {
	return &turns{share: share, tally: tally{period: time.Second}}
}

// take says whether a client's question is to be answered.
func (t *turns) take(client netip.Addr, now time.Time) bool {
	if client != t.last {
		t.last, t.device = client, t.share(client)
	}
	return t.tally.add(t.device, now) <= turnsEach || max(len(t.tally.of), t.tally.before) == 1
}

// takings share fake addresses out, so that the names of one device do not take
// them all.
type takings struct {
	mu    sync.Mutex // guards the field below
	tally tally
}

// allow says whether a device may have an address for one more name.
func (t *takings) allow(device policy.DeviceKey, pool fakeip.Stats, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally.period = takingTime
	taken := t.tally.add(device, now)
	return pool.Names < pool.Slots-pool.Slots/poolReserve || taken <= max(pool.Slots/poolShare, minTaking)
}
