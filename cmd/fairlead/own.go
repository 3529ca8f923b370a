package main

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
)

// ownAddresses are those of this machine and of the networks that it is in, as
// they were when it was last looked.
type ownAddresses struct {
	set      atomic.Pointer[map[netip.Addr]bool]
	networks atomic.Pointer[networkPrefixes]
}

// networkPrefixes are those of every network, and those of the devices that are
// served.
type networkPrefixes struct {
	home, lan []netip.Prefix
	served    []string
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

// follow takes over what route.Connected found.
func (o *ownAddresses) follow(home []netip.Prefix, lan map[string][]netip.Prefix, served []string) {
	n := networkPrefixes{home: home, served: served}
	for _, prefixes := range lan {
		n.lan = append(n.lan, prefixes...)
	}
	o.networks.Store(&n)
}

func (o *ownAddresses) has(addr netip.Addr) bool {
	set := o.set.Load()
	return addr.IsLoopback() || set != nil && (*set)[addr]
}

// subnet is the LAN's prefix that an address lies in.
func (o *ownAddresses) subnet(addr netip.Addr) (netip.Prefix, bool) {
	if n := o.networks.Load(); n != nil {
		return containing(n.lan, addr.WithZone(""))
	}
	return netip.Prefix{}, false
}

// near tells this machine and whoever is on one of its networks.
func (o *ownAddresses) near(addr netip.Addr) bool {
	n := o.networks.Load()
	if n == nil {
		return o.has(addr)
	}
	_, connected := containing(n.home, addr.WithZone(""))
	return connected || o.has(addr)
}

// stranger tells whoever is on a network of this machine that is not served. A
// link-local address is told by its zone, which is the number of an interface.
func (o *ownAddresses) stranger(addr netip.Addr) bool {
	n := o.networks.Load()
	if n == nil || o.has(addr.WithZone("")) {
		return false
	}
	if index, err := strconv.Atoi(addr.Zone()); err == nil {
		link, err := net.InterfaceByIndex(index)
		return err == nil && !slices.Contains(n.served, link.Name)
	}
	_, served := containing(n.lan, addr)
	_, connected := containing(n.home, addr)
	return connected && !served && !addr.IsLinkLocalUnicast()
}

func containing(prefixes []netip.Prefix, addr netip.Addr) (netip.Prefix, bool) {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
