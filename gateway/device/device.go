// Package device tells which device an address belongs to, from the kernel's
// neighbour table, which it follows over netlink.
package device

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/gateway/policy"
)

const (
	// retry is how long a broken subscription waits before it is made anew.
	retry = 250 * time.Millisecond
	// receiveBuffer holds the events of a burst, such as a bridge that goes
	// down; an overflow costs a new subscription and a listing.
	receiveBuffer = 256 << 10
)

// Leases gives the host name that a device told when it asked for its address.
type Leases interface {
	Hostname(mac policy.MAC, addr netip.Addr) string
}

// Table follows the neighbour table. Its zero value is not usable; see New.
type Table struct {
	leases Leases // may be nil
	log    *slog.Logger

	mu       sync.RWMutex // guards the fields below
	byAddr   map[netip.Addr]neighbour
	expected map[netip.Addr]chan struct{} // closed when the address is known, or given up
}

type neighbour struct {
	mac  policy.MAC
	link string
}

// New returns a Table that knows nobody yet; Serve fills it. leases may be nil.
func New(leases Leases, log *slog.Logger) *Table {
	return &Table{leases: leases, log: log, byAddr: make(map[netip.Addr]neighbour), expected: make(map[netip.Addr]chan struct{})}
}

// Device says what is known of the sender of a packet. An address that no event
// has told of yet is asked for in the kernel, and, if it is not known there
// either, in the LAN, which takes 200 ms at most; what stays unknown is zero.
func (t *Table) Device(addr netip.Addr) policy.Device {
	addr = addr.WithZone("")
	n, ok := t.neighbour(addr)
	if !ok {
		n = t.lookup(addr)
	}
	return t.device(addr, n)
}

// Known is Device for those who cannot wait: ok is false if somebody would have
// to be asked.
func (t *Table) Known(addr netip.Addr) (d policy.Device, ok bool) {
	addr = addr.WithZone("")
	n, ok := t.neighbour(addr)
	if !ok {
		return policy.Device{}, false
	}
	return t.device(addr, n), true
}

func (t *Table) device(addr netip.Addr, n neighbour) policy.Device {
	d := policy.Device{Addr: addr, MAC: n.mac, Interface: n.link}
	if t.leases != nil {
		d.Hostname = t.leases.Hostname(d.MAC, d.Addr)
	}
	return d
}

func (t *Table) neighbour(addr netip.Addr) (neighbour, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok := t.byAddr[addr]
	return n, ok
}

// Serve follows the neighbour table until ctx ends. A subscription that breaks
// (the kernel drops events when nobody reads in time) is made anew and the
// table listed again.
func (t *Table) Serve(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := t.follow(ctx); err != nil && ctx.Err() == nil {
			t.log.Debug("following neighbours", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
	return nil
}

func (t *Table) follow(ctx context.Context) error {
	events, err := subscribe()
	if err != nil {
		return fmt.Errorf("subscribing to neighbours: %w", err)
	}
	defer events.Close()
	defer context.AfterFunc(ctx, events.Close)()
	if err := t.relist(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		some, err := events.Receive()
		if err != nil {
			return fmt.Errorf("receiving events of neighbours: %w", err)
		}
		for _, e := range some {
			t.apply(e)
		}
	}
	return nil
}

// relist takes over the whole table, and forgets who is not in it any more: the
// events that would have told so may be among those that were lost, and a device
// that takes one address after the other could have the rest kept for ever.
func (t *Table) relist() error {
	list, err := t.list()
	if err != nil {
		return err
	}
	listed := make(map[netip.Addr]bool, len(list))
	for _, e := range list {
		listed[e.addr] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.byAddr, func(addr netip.Addr, _ neighbour) bool { return !listed[addr] })
	return nil
}

// list takes over the entries that there are now, and gives them.
func (t *Table) list() ([]entry, error) {
	list, err := listEntries()
	if err != nil {
		return nil, fmt.Errorf("listing neighbours: %w", err)
	}
	for _, e := range list {
		t.apply(e)
	}
	return list, nil
}

// apply takes over one event. Entries without a hardware address (incomplete,
// failed) do not delete what was known: the device is only asleep.
func (t *Table) apply(e entry) {
	if e.gone {
		t.mu.Lock()
		delete(t.byAddr, e.addr)
		t.mu.Unlock()
		return
	}
	if len(e.mac) != len(policy.MAC{}) || e.state&(unix.NUD_NOARP|unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0 {
		return
	}
	n := neighbour{mac: policy.MAC(e.mac), link: linkName(e.link)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byAddr[e.addr] = n
	t.settle(e.addr)
}
