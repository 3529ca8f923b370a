package main

import (
	"net"
	"net/netip"
	"sync/atomic"
)

// ownAddresses are those of this machine, as they were when it was last looked.
type ownAddresses struct {
	set atomic.Pointer[map[netip.Addr]bool]
}

// look lists the addresses anew. What cannot be listed stays as it was.
func (o *ownAddresses) look() {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	set := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				set[addr.Unmap()] = true
			}
		}
	}
	o.set.Store(&set)
}

func (o *ownAddresses) has(addr netip.Addr) bool {
	set := o.set.Load()
	return set != nil && (*set)[addr]
}
