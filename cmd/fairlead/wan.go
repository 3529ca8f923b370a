package main

import (
	"bufio"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
)

const (
	// maxResolvConf is how much of a resolv.conf is read, in octets.
	maxResolvConf = 64 << 10
	// maxResolvers is how many resolvers are used. Nobody announces as many.
	maxResolvers = 16
)

// resolvConfs are where the WAN's own resolvers are found: what netifd collects
// on OpenWrt, and what everybody else has.
func resolvConfs() []string {
	return []string{"/tmp/resolv.conf.d/resolv.conf.auto", "/etc/resolv.conf"}
}

// wan knows the resolvers that the WAN announced. They are looked for with each
// use, because they change with the link.
type wan struct {
	collected, general *resolvConf
	told               func() []netip.AddrPort // by netifd, for where nobody collects
	own                func(netip.Addr) bool   // whether an address is this machine's
}

func newWAN(told func() []netip.AddrPort, own func(netip.Addr) bool) *wan {
	paths := resolvConfs()
	return &wan{collected: &resolvConf{path: paths[0]}, general: &resolvConf{path: paths[1]}, told: told, own: own}
}

// resolvers gives those of the first place that has any. This router itself is
// none: it would ask us.
func (w *wan) resolvers() []netip.AddrPort {
	for _, look := range []func() []netip.AddrPort{w.collected.nameservers, w.told, w.general.nameservers} {
		list := slices.DeleteFunc(slices.Clone(look()), func(a netip.AddrPort) bool {
			return a.Addr().IsLoopback() || w.own(a.Addr().WithZone(""))
		})
		if len(list) > 0 {
			return list[:min(len(list), maxResolvers)]
		}
	}
	return nil
}

// resolvConf is a file of that format. It is read again when it has changed, or
// is another file.
type resolvConf struct {
	path string

	mu   sync.Mutex // guards the fields below
	read fs.FileInfo
	list []netip.AddrPort
}

func (r *resolvConf) nameservers() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := os.Stat(r.path)
	if err != nil {
		r.read = nil
		return nil
	}
	if r.read == nil || !os.SameFile(r.read, now) || !r.read.ModTime().Equal(now.ModTime()) || r.read.Size() != now.Size() {
		r.read, r.list = now, readNameservers(r.path)
	}
	return r.list
}

func readNameservers(path string) []netip.AddrPort {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []netip.AddrPort
	for lines := bufio.NewScanner(io.LimitReader(f, maxResolvConf)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(addr.Unmap(), portDNS))
		}
	}
	return list
}

// dropLost closes connections to DNS servers that began at an address that this
// machine has no more. The caller holds the lock.
func (d *daemon) dropLost() {
	for _, u := range d.gen.upstreams {
		u.Drop(func(a netip.Addr) bool { return !a.IsLoopback() && !d.own.has(a.WithZone("")) })
	}
}
