package lease

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
)

// leases are what devices were given, while it is being settled who has which
// name.
type leases struct {
	*entries
	all []leased
}

type leased struct {
	addr   netip.Addr
	name   string // empty: none
	client string // client id or DUID: what one device has in common
	sure   bool   // the configuration or a hosts file gives the name
}

func (e *entries) newLeases() *leases { return &leases{entries: e} }

// addLease takes a line of dnsmasq's lease file: expiry, hardware address,
// address, name or *, client id.
func (l *leases) addLease(line string) {
	f := strings.Fields(line)
	if len(f) < 4 {
		return
	}
	addr, err := netip.ParseAddr(f[2])
	if err != nil {
		return
	}
	client := ""
	if len(f) > 4 {
		client = f[4]
	}
	mac, _ := policy.ParseMAC(f[1])
	l.take(addr.Unmap(), mac, toldName(f[3]), client)
}

// addGuest takes a line of odhcpd's: an address and its names as in a hosts
// file, or a comment `# INTERFACE MAC ipv4 NAME EXPIRES ADDRESS 32 ADDRESS/32`,
// which is the only one that has a hardware address.
func (l *leases) addGuest(line string) {
	if f := strings.Fields(line); len(f) > 8 && f[0] == "#" && f[3] == "ipv4" {
		mac, err1 := hex.DecodeString(f[2])
		addr, err2 := netip.ParsePrefix(f[8])
		if len(mac) == len(policy.MAC{}) && err1 == nil && err2 == nil {
			l.know(addr.Addr(), policy.MAC(mac), toldName(f[4]))
		}
		return
	}
	addr, names, ok := hostsLine(line)
	if !ok {
		return
	}
	if name := toldName(names[len(names)-1]); name != "" {
		l.all = append(l.all, leased{addr: addr, name: name, client: "odhcpd"})
	}
}

// take takes one lease. A device that the configuration names has that name,
// one whose address a hosts file names has that one.
func (l *leases) take(addr netip.Addr, mac policy.MAC, name, client string) {
	told := leased{addr: addr, name: name, client: client}
	if fixed := l.fixedName(mac, addr); fixed != "" {
		told.name, told.sure = fixed, true
	} else if host, domain, _ := strings.Cut(l.names[addr], "."); host != "" && addr.Is4() && (domain == "" || domain == l.config.Domain) {
		told.name, told.sure = host, true
	}
	l.know(addr, mac, told.name)
	if told.name != "" {
		l.all = append(l.all, told)
	}
}

// know takes note of who told which name.
func (l *leases) know(addr netip.Addr, mac policy.MAC, name string) {
	l.entries.leases = append(l.entries.leases, Lease{Addr: addr, MAC: mac, Hostname: name})
	if name == "" || mac == (policy.MAC{}) {
		return
	}
	l.hostnames[mac] = name
	if !slices.Contains(l.macs[name], mac) {
		l.macs[name] = append(l.macs[name], mac)
	}
}

func (l *leases) fixedName(mac policy.MAC, addr netip.Addr) string {
	for _, d := range l.config.Devices {
		if slices.Contains(d.MACs, mac) && (!d.Addr.IsValid() || d.Addr == addr) && isLabel(d.Name) {
			return d.Name
		}
	}
	return ""
}

// settle gives each name to one device: the one that has it for sure, else the
// last that told it. Hosts files and aliases come before all devices.
func (l *leases) settle() {
	type key struct {
		name string
		is4  bool
	}
	owner := make(map[key]leased)
	for _, lease := range l.all {
		k := key{lease.name, lease.addr.Is4()}
		if had, taken := owner[k]; !taken || lease.sure || !had.sure {
			owner[k] = lease
		}
	}
	settled := make(map[string]bool) // names of hosts files
	for name := range l.byName {
		settled[name] = true
	}
	for _, lease := range l.all {
		had := owner[key{lease.name, lease.addr.Is4()}]
		if had.addr != lease.addr && (had.client != lease.client || lease.addr.Is4() || lease.client == "") {
			continue
		}
		names := []string{lease.name}
		if full := l.qualified(lease.name); full != lease.name {
			names = []string{full, lease.name}
		}
		for _, name := range names {
			if !settled[name] || l.free(name, lease.addr) {
				l.add(name, lease.addr)
			}
		}
	}
}

// free says whether hosts files leave a name to a lease: they lead it nowhere
// in the lease's family.
func (l *leases) free(name string, addr netip.Addr) bool {
	h := l.byName[name]
	return h.Alias == "" && !slices.ContainsFunc(h.Addrs, func(a netip.Addr) bool { return a.Is4() == addr.Is4() })
}

// toldName is the name that a device told: one label, whatever domain it says
// it is in; empty where it means something else to others (wpad: CERT VU#598349;
// isatap: RFC 5214) or to DNS itself.
func toldName(s string) string {
	label, _, _ := strings.Cut(canonical(s), ".")
	switch label {
	case "localhost", "wpad", "isatap", "local", "onion", "invalid", "test", "internal", "alt", "arpa":
		return ""
	}
	if !isLabel(label) || label[0] == '_' {
		return ""
	}
	return label
}
