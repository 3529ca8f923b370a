// Package lease knows the names of this network: what devices told when they
// asked for an address, and what the hosts files say.
package lease

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// checkEvery is how soon a changed file is seen. A look costs one stat(2) per
// file.
const checkEvery = time.Second

// Paths are the files that are read; those that do not exist are waited for.
type Paths struct {
	Leases []string // as dnsmasq writes them
	Hosts  []string // hosts(5) files, or directories of them
}

// DefaultPaths are where OpenWrt keeps leases and hosts (dnsmasq.init, odhcpd).
func DefaultPaths() Paths {
	return Paths{
		Leases: []string{"/tmp/dhcp.leases", "/var/lib/misc/dnsmasq.leases"},
		Hosts:  []string{"/etc/hosts", "/tmp/hosts"},
	}
}

// Book answers by what the files said when they were read last.
type Book struct {
	paths   Paths
	domain  string
	log     *slog.Logger
	entries atomic.Pointer[entries]
}

// entries are what one reading of all files gave. It is never changed.
type entries struct {
	stamp string // of the files that it was read from
	hosts map[policy.MAC]string
	addrs map[string][]netip.Addr // by name
	names map[netip.Addr]string
	macs  map[string][]policy.MAC // by host name

	leases []Lease // in the order of the files
}

// Lease is what a device asked for and got. What it did not tell is zero.
type Lease struct {
	Addr     netip.Addr
	MAC      policy.MAC
	Hostname string
}

// NewBook reads the files once. Names without a dot are also known within
// domain, which may be empty.
func NewBook(paths Paths, domain string, log *slog.Logger) *Book {
	b := &Book{paths: paths, domain: domain, log: log}
	b.entries.Store(b.read())
	return b
}

// Hostname is the name that a device told with its lease, empty if none.
func (b *Book) Hostname(mac policy.MAC, addr netip.Addr) string {
	e := b.entries.Load()
	if name, ok := e.hosts[mac]; ok {
		return name
	}
	name, _, _ := strings.Cut(e.names[addr], ".")
	return name
}

// MACs gives the devices that told this host name.
func (b *Book) MACs(hostname string) []policy.MAC { return b.entries.Load().macs[hostname] }

// Addrs gives the addresses of a local name.
func (b *Book) Addrs(name string) ([]netip.Addr, bool) {
	addrs, ok := b.entries.Load().addrs[name]
	return addrs, ok
}

// NameOf gives the name of a local address.
func (b *Book) NameOf(addr netip.Addr) (string, bool) {
	name, ok := b.entries.Load().names[addr]
	return name, ok
}

// Serve reads the files again when they change, until ctx ends, and calls
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
		if stampOf(b.files()) != b.entries.Load().stamp {
			b.entries.Store(b.read())
			changed()
		}
	}
}

// files lists what is there to be read: leases first.
func (b *Book) files() (leases, hosts []string) {
	for _, path := range b.paths.Hosts {
		if list, err := os.ReadDir(path); err == nil {
			for _, entry := range list {
				hosts = append(hosts, filepath.Join(path, entry.Name()))
			}
			continue
		}
		hosts = append(hosts, path)
	}
	return b.paths.Leases, hosts
}

// stampOf changes whenever a file is written, replaced, added or removed.
func stampOf(leases, hosts []string) string {
	var s strings.Builder
	for _, path := range slices.Concat(leases, hosts) {
		s.WriteString(path)
		if info, err := os.Stat(path); err == nil {
			s.WriteString(info.ModTime().String())
			s.WriteByte(' ')
			s.WriteString(time.Duration(info.Size()).String())
		}
		s.WriteByte('\n')
	}
	return s.String()
}

func (b *Book) read() *entries {
	leases, hosts := b.files()
	e := &entries{
		stamp: stampOf(leases, hosts),
		hosts: make(map[policy.MAC]string),
		addrs: make(map[string][]netip.Addr),
		names: make(map[netip.Addr]string),
		macs:  make(map[string][]policy.MAC),
	}
	for _, path := range leases {
		b.eachLine(path, func(fields []string) { e.addLease(fields, b.domain) })
	}
	for _, path := range hosts {
		b.eachLine(path, func(fields []string) { e.addHost(fields, b.domain) })
	}
	return e
}

// eachLine gives the fields of each line of a file; what cannot be read is as
// good as empty.
func (b *Book) eachLine(path string, each func(fields []string)) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 4<<20))
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if fields := strings.Fields(text); len(fields) > 0 {
			each(fields)
		}
	}
	if err := lines.Err(); err != nil {
		b.log.Warn("reading local names", "file", path, "err", err)
	}
}

// addLease takes a line of dnsmasq's lease file: expiry, hardware address,
// address, name or *, client id.
func (e *entries) addLease(f []string, domain string) {
	if len(f) < 4 {
		return
	}
	addr, err := netip.ParseAddr(f[2])
	if err != nil {
		return
	}
	name, ok := hostName(f[3])
	mac, err := policy.ParseMAC(f[1])
	e.leases = append(e.leases, Lease{Addr: addr.Unmap(), MAC: mac, Hostname: name})
	if !ok {
		return
	}
	if err == nil {
		e.hosts[mac] = name
		if !slices.Contains(e.macs[name], mac) {
			e.macs[name] = append(e.macs[name], mac)
		}
	}
	e.add(addr.Unmap(), name, domain)
}

// addHost takes a line of a hosts file: an address and its names. Loopback
// names are the router's own affair.
func (e *entries) addHost(f []string, domain string) {
	addr, err := netip.ParseAddr(f[0])
	if err != nil || addr.IsLoopback() || addr.IsMulticast() || addr.IsUnspecified() {
		return
	}
	for _, field := range f[1:] {
		if name, ok := hostName(field); ok {
			e.add(addr.Unmap().WithZone(""), name, domain)
		}
	}
}

func (e *entries) add(addr netip.Addr, name, domain string) {
	names := []string{name}
	if domain != "" && !strings.Contains(name, ".") {
		names = []string{name + "." + domain, name}
	}
	for _, n := range names {
		if !slices.Contains(e.addrs[n], addr) {
			e.addrs[n] = append(e.addrs[n], addr)
		}
	}
	if _, known := e.names[addr]; !known {
		e.names[addr] = names[0]
	}
}

// hostName refuses what is no host name (RFC 1123 section 2.1; underscores are
// common): a device chooses the name in its lease itself.
func hostName(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if s == "" || len(s) > 253 || s == "localhost" || strings.HasPrefix(s, "-") || strings.Contains(s, "..") || s[0] == '.' {
		return "", false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return "", false
		}
	}
	return s, true
}

// Leases lists what was leased, with names or without.
func (b *Book) Leases() []Lease { return b.entries.Load().leases }

// Hostnames lists the host names that devices told.
func (b *Book) Hostnames() []string { return slices.Sorted(maps.Keys(b.entries.Load().macs)) }
