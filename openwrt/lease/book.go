// Package lease knows the names of this network: what devices told when they
// asked for an address, and what hosts files and OpenWrt's DHCP configuration
// say. It gives dnsmasq's answers to the same files.
package lease

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/gateway/policy"
)

// checkEvery is how soon a changed file is seen, so that it counts within a second.
// A look costs one stat(2) per file.
const checkEvery = time.Second / 2

// Paths are the files that are read; those that do not exist are waited for.
type Paths struct {
	Leases []string // as dnsmasq writes them
	Hosts  []string // hosts(5) files, or directories of them
	DHCP   string   // OpenWrt's configuration of dnsmasq and odhcpd; empty: none
}

// DefaultPaths are where OpenWrt keeps leases and hosts (dnsmasq.init, odhcpd).
func DefaultPaths() Paths {
	return Paths{
		Leases: []string{"/tmp/dhcp.leases", "/var/lib/misc/dnsmasq.leases"},
		Hosts:  []string{systemHosts, "/tmp/hosts"},
		DHCP:   "/etc/config/dhcp",
	}
}

// Book answers by what the files said when they were read last.
type Book struct {
	paths   Paths
	log     *slog.Logger
	domain  atomic.Pointer[string]
	entries atomic.Pointer[entries]
}

// Lease is one line of a lease file. Hostname is empty where the device told
// none.
type Lease struct {
	Addr     netip.Addr
	MAC      policy.MAC
	Hostname string
}

// NewBook reads the files once. Names without a dot are also known within
// domain, which may be empty, unless Paths.DHCP names another.
func NewBook(paths Paths, domain string, log *slog.Logger) *Book {
	b := &Book{paths: paths, log: log}
	b.domain.Store(&domain)
	b.entries.Store(b.read())
	return b
}

// SetDomain gives names without a dot another domain, as soon as Serve sees it.
func (b *Book) SetDomain(domain string) { b.domain.Store(&domain) }

// Hostname is the name that a device told with its lease, empty if none.
func (b *Book) Hostname(mac policy.MAC, addr netip.Addr) string {
	e := b.entries.Load()
	if name, ok := e.hostnames[mac]; ok {
		return name
	}
	name, _, _ := strings.Cut(e.names[addr], ".")
	return name
}

// MACs gives the devices that told this host name.
func (b *Book) MACs(hostname string) []policy.MAC { return b.entries.Load().macs[hostname] }

// Host gives what is known of a local name.
func (b *Book) Host(name string) (dnsrouter.Host, bool) {
	host, ok := b.entries.Load().byName[name]
	if !ok {
		return dnsrouter.Host{}, false
	}
	return *host, true
}

// NameOf gives the name of a local address.
func (b *Book) NameOf(addr netip.Addr) (string, bool) {
	name, ok := b.entries.Load().names[addr]
	return name, ok
}

// Rules gives what dnsmasq's configuration says of local names.
func (b *Book) Rules() *dnsrouter.LocalRules { return &b.entries.Load().rules }

// Leases lists what was leased, with names or without.
func (b *Book) Leases() []Lease { return b.entries.Load().leases }

// Hostnames lists the host names that devices told.
func (b *Book) Hostnames() []string { return slices.Sorted(maps.Keys(b.entries.Load().macs)) }

// Serve reads the files again when they or the domain change, until ctx ends, and calls
// changed after each reading.
func (b *Book) Serve(ctx context.Context, changed func()) error {
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if e := b.entries.Load(); b.stampOf(b.sources(e.config)) != e.stamp {
			b.entries.Store(b.read())
			changed()
		}
	}
}

// entries are what one reading of all files gave. It is never changed.
type entries struct {
	stamp  string // of the domain and the files that it was read from
	config config
	rules  dnsrouter.LocalRules

	byName map[string]*dnsrouter.Host
	names  map[netip.Addr]string

	full    bool // there are more names than a router should keep
	crowded bool // there are more leases than maxLeases

	leases    []Lease
	hostnames map[policy.MAC]string
	macs      map[string][]policy.MAC // by host name
}

func newEntries(c config) *entries {
	return &entries{
		config: c, rules: c.rules(),
		byName: make(map[string]*dnsrouter.Host), names: make(map[netip.Addr]string),
		hostnames: make(map[policy.MAC]string), macs: make(map[string][]policy.MAC),
	}
}

// maxNames bounds the names, some 200 bytes each: a list that is longer belongs
// into a rule set.
const maxNames = 1 << 16

// read takes dnsmasq's order: what comes first gives an address its name. A
// name that a lease tells counts only if nobody else has it.
func (b *Book) read() *entries {
	c := b.readConfig()
	from := b.sources(c)
	e := newEntries(c)
	e.stamp = b.stampOf(from)
	e.addConfig()
	for _, path := range from.hosts {
		b.eachLine(path, e.addHosts)
	}
	for _, h := range c.Hosts {
		e.addHost(h.Addr, h.Names)
	}
	devices := e.newLeases()
	for _, path := range from.guests {
		b.eachLine(path, devices.addGuest)
	}
	for _, path := range from.leases {
		b.eachLine(path, devices.addLease)
	}
	devices.settle()
	b.complain(e)
	return e
}

// complain says once what is too much, however often files change after that.
func (b *Book) complain(e *entries) {
	before := b.entries.Load()
	if before == nil {
		before = new(entries)
	}
	if e.full && !before.full {
		b.log.Warn("there are too many local names; the rest is not read: lists of names belong into rule sets", "most", maxNames)
	}
	if e.crowded && !before.crowded {
		b.log.Warn("there are too many leases; the rest is not read, and has no names", "most", maxLeases)
	}
}
