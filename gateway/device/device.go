// Package device tells which device an address belongs to, from the kernel's
// neighbour table, which it follows over netlink.
package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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

	mu     sync.RWMutex // guards the fields below
	byAddr map[netip.Addr]neighbour
}

type neighbour struct {
	mac  policy.MAC
	link string
}

// New returns a Table that knows nobody yet; Serve fills it. leases may be nil.
func New(leases Leases, log *slog.Logger) *Table {
	return &Table{leases: leases, log: log, byAddr: make(map[netip.Addr]neighbour)}
}

// Device says what is known of the sender of a packet. An address that no event
// has told of yet is asked for in the kernel; what stays unknown is zero.
func (t *Table) Device(addr netip.Addr) policy.Device {
	d := policy.Device{Addr: addr.WithZone("")}
	n, ok := t.neighbour(d.Addr)
	if !ok {
		n = t.lookup(d.Addr)
	}
	d.MAC, d.Interface = n.mac, n.link
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

// lookup asks the kernel for a device whose event is still on its way: a device
// that speaks for the first time is judged by who it is from its first packet
// on. Only this one entry is asked for, so that a flood of forged sources stays
// cheap. Behind a link without neighbours, such as a tunnel, the interface is all
// that can be known.
func (t *Table) lookup(addr netip.Addr) neighbour {
	link := routedTo(addr)
	if link == 0 {
		return neighbour{}
	}
	entry, err := entryOf(link, addr)
	if err == nil {
		t.apply(netlink.NeighUpdate{Type: unix.RTM_NEWNEIGH, Neigh: *entry})
	} else if !errors.Is(err, unix.ENOENT) {
		t.log.Debug("asking for a neighbour", "addr", addr, "err", err)
	}
	if n, ok := t.neighbour(addr); ok {
		return n
	}
	return neighbour{link: linkName(link)}
}

// routedTo is the interface through which addr is reached, 0 if by none.
func routedTo(addr netip.Addr) (link int) {
	routes, err := netlink.RouteGet(addr.AsSlice())
	if err != nil || len(routes) == 0 {
		return 0
	}
	return routes[0].LinkIndex
}

// entryOf gets one entry of the neighbour table (RTM_GETNEIGH without a dump,
// since Linux 5.0).
func entryOf(link int, addr netip.Addr) (*netlink.Neigh, error) {
	family := unix.AF_INET6
	if addr.Is4() {
		family = unix.AF_INET
	}
	request := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	request.AddData(&netlink.Ndmsg{Family: uint8(family), Index: uint32(link)})
	request.AddData(nl.NewRtAttr(netlink.NDA_DST, addr.AsSlice()))
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, fmt.Errorf("%d entries for %s", len(answers), addr)
	}
	return netlink.NeighDeserialize(answers[0])
}

func linkName(index int) string {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return ""
	}
	return link.Name
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
	updates := make(chan netlink.NeighUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	err := netlink.NeighSubscribeWithOptions(updates, done, netlink.NeighSubscribeOptions{
		ErrorCallback:     func(err error) { t.log.Debug("following neighbours", "err", err) },
		ReceiveBufferSize: receiveBuffer,
	})
	if err != nil {
		return fmt.Errorf("subscribing to neighbours: %w", err)
	}
	if err := t.list(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("the subscription to neighbours ended")
			}
			t.apply(u)
		}
	}
}

func (t *Table) list() error {
	list, err := netlink.NeighList(0, 0)
	if err != nil {
		return fmt.Errorf("listing neighbours: %w", err)
	}
	for _, n := range list {
		t.apply(netlink.NeighUpdate{Type: unix.RTM_NEWNEIGH, Neigh: n})
	}
	return nil
}

// apply takes over one event. Entries without a hardware address (incomplete,
// failed) do not delete what was known: the device is only asleep.
func (t *Table) apply(u netlink.NeighUpdate) {
	addr, ok := netip.AddrFromSlice(u.IP)
	if !ok {
		return
	}
	addr = addr.Unmap()
	if u.Type == unix.RTM_DELNEIGH {
		t.mu.Lock()
		delete(t.byAddr, addr)
		t.mu.Unlock()
		return
	}
	if len(u.HardwareAddr) != len(policy.MAC{}) || u.State&(netlink.NUD_NOARP|netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0 {
		return
	}
	n := neighbour{mac: policy.MAC(u.HardwareAddr), link: linkName(u.LinkIndex)}
	t.mu.Lock()
	t.byAddr[addr] = n
	t.mu.Unlock()
}
