package device

import (
	"errors"
	"net"
	"net/netip"
	"time"

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
	e, err := entryOf(link, addr)
	if err == nil {
		t.apply(e)
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

func linkName(index int) string {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return ""
	}
	return link.Name
}
