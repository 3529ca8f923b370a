package lease

import (
	"cmp"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
)

// maxLeases bounds the leases of all files: a device that asks for one after the
// other, all under one name, has them compared with each other.
const maxLeases = 4096

// leases are what devices were given, while it is being settled who has which
// name.
type leases struct {
	*entries
	all     []leased
	holders map[claim][]int // by index of all
}

type leased struct {
	addr   netip.Addr
	name   string // empty: none
	fixed  string // what the configuration or a hosts file calls it; empty: nothing
	client string // client id or DUID: what all leases of one device have in common
}

// claim is a name in one family.
type claim struct {
	name string
	is4  bool
}

func (e *entries) newLeases() *leases { return &leases{entries: e, holders: make(map[claim][]int)} }

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
		if len(mac) == len(policy.MAC{}) && err1 == nil && err2 == nil && l.room() {
			l.know(addr.Addr(), policy.MAC(mac), toldName(f[4]))
		}
		return
	}
	addr, names, ok := hostsLine(line)
	if !ok {
		return
	}
	if name := toldName(names[len(names)-1]); name != "" && l.room() {
		l.tell(leased{addr: addr, client: "odhcpd"}, name)
	}
}

// take takes one lease. A device that the configuration names has that name,
// one whose address a hosts file names has that one.
func (l *leases) take(addr netip.Addr, mac policy.MAC, name, client string) {
	fixed := l.fixedName(mac, addr)
	if fixed == "" {
		host, domain, _ := strings.Cut(l.names[addr], ".")
		if addr.Is4() && (domain == "" || domain == l.config.Domain) {
			fixed = host
		}
	}
	if !l.room() {
		return
	}
	l.know(addr, mac, cmp.Or(fixed, name))
	l.tell(leased{addr: addr, fixed: fixed, client: client}, name)
}

// room says whether there is any for one more lease.
func (l *leases) room() bool {
	if len(l.all) < maxLeases && len(l.entries.leases) < maxLeases {
		return true
	}
	l.crowded = true
	return false
}

func (l *leases) tell(lease leased, name string) {
	l.all = append(l.all, lease)
	l.give(len(l.all)-1, name)
}

// give gives a name to a lease, and takes it from other devices.
func (l *leases) give(i int, name string) {
	if name == "" {
		return
	}
	lease := &l.all[i]
	c := claim{name, lease.addr.Is4()}
	others := l.holders[c][:0]
	for _, j := range l.holders[c] {
		if l.all[j].name == name && !c.is4 && l.all[j].client == lease.client {
			others = append(others, j)
		} else if l.all[j].name == name {
			l.all[j].name = ""
		}
	}
	lease.name = name
	l.holders[c] = append(others, i)
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

// settle gives each name to one device: the first that is called so, else the
// last that told it. Hosts files and aliases come before all devices.
func (l *leases) settle() {
	for i, lease := range slices.Backward(l.all) {
		l.give(i, lease.fixed)
	}
	settled := make(map[string]bool) // names of hosts files
	for name := range l.byName {
		settled[name] = true
	}
	for _, lease := range l.all {
		if lease.name == "" {
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
