package device

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// askTime is how long the first packet of a device waits until it is known
	// who it is. A device that is there answers within milliseconds.
	askTime = 200 * time.Millisecond
	// maxExpected bounds how many addresses are asked for at a time, so that a
	// flood of forged sources does not fill the kernel's neighbour table.
	maxExpected = 16
)

// lookup asks for a device of which no event has told yet: a device that speaks
// for the first time is judged by who it is from its first packet on. The kernel
// may know it already, its event being on its way. If not, because the address is
// a new one of a device that needed not ask for the router (RFC 8981), the kernel
// is made to ask the LAN. Behind a link without neighbours, such as a tunnel, the
// interface is all that can be known.
func (t *Table) lookup(addr netip.Addr) neighbour {
	link, direct := routedTo(addr)
	if link == 0 {
		return neighbour{}
	}
	t.fetch(link, addr)
	n, ok := t.neighbour(addr)
	if !ok && direct && hasNeighbours(link) {
		t.discover(link, addr)
		n, ok = t.neighbour(addr)
	}
	if !ok {
		return neighbour{link: linkName(link)}
	}
	return n
}

// fetch takes over what the kernel knows. Only this one entry is asked for, so
// that a flood of forged sources stays cheap.
func (t *Table) fetch(link int, addr netip.Addr) {
	entry, err := entryOf(link, addr)
	if err == nil {
		t.apply(netlink.NeighUpdate{Type: unix.RTM_NEWNEIGH, Neigh: *entry})
	} else if !errors.Is(err, unix.ENOENT) {
		t.log.Debug("asking for a neighbour", "addr", addr, "err", err)
	}
}

// discover has the kernel ask the LAN for an address and waits for the answer.
// Whoever comes while it is being asked for waits with the first.
func (t *Table) discover(link int, addr netip.Addr) {
	known, first := t.expect(addr)
	if known == nil {
		return
	}
	if !first {
		<-known
		return
	}
	if err := solicit(link, addr); err != nil {
		t.log.Debug("asking the LAN for a neighbour", "addr", addr, "err", err)
	}
	timeout := time.NewTimer(askTime)
	defer timeout.Stop()
	select {
	case <-known:
	case <-timeout.C:
		t.fetch(link, addr) // events can be lost
		t.giveUp(addr)
	}
}

// expect gives what tells that an address is known or given up, and whether the
// caller is the first to wait for it and has to see to that. It is nil when too
// many are expected.
func (t *Table) expect(addr netip.Addr) (known chan struct{}, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.expected[addr]; ok {
		return known, false
	}
	if len(t.expected) >= maxExpected {
		return nil, false
	}
	known = make(chan struct{})
	t.expected[addr] = known
	return known, true
}

func (t *Table) giveUp(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle(addr)
}

// settle wakes those who wait for an address. The caller holds the lock.
func (t *Table) settle(addr netip.Addr) {
	if known, ok := t.expected[addr]; ok {
		delete(t.expected, addr)
		close(known)
	}
}

// routedTo is the interface through which addr is reached, 0 if by none, and
// whether it is reached without another router.
func routedTo(addr netip.Addr) (link int, direct bool) {
	routes, err := netlink.RouteGet(addr.AsSlice())
	if err != nil || len(routes) == 0 {
		return 0, false
	}
	return routes[0].LinkIndex, routes[0].Gw == nil
}

// hasNeighbours tells that an interface's hosts have hardware addresses that can
// be asked for.
func hasNeighbours(link int) bool {
	l, err := netlink.LinkByIndex(link)
	return err == nil && l.Attrs().RawFlags&(unix.IFF_NOARP|unix.IFF_LOOPBACK|unix.IFF_POINTOPOINT) == 0
}

// solicit makes the kernel resolve an address as if a packet were to be sent
// there (linux/neighbour.h, NTF_USE).
func solicit(link int, addr netip.Addr) error {
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: link, IP: addr.AsSlice(), Flags: unix.NTF_USE})
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
