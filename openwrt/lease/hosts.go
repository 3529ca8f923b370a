package lease

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// addConfig takes the records that stand in the configuration itself. Names of
// host records are never expanded.
func (e *entries) addConfig() {
	for _, a := range e.config.Aliases {
		if !isName(a.Name) || !isName(a.Target) {
			continue // among them wildcards, which dnsmasq keeps for zones that it is the authority of
		}
		if h := e.at(a.Name); h != nil && h.Alias == "" {
			h.Alias = a.Target
		}
	}
	for _, h := range e.config.Records {
		for _, name := range h.Names {
			if isName(name) {
				e.add(name, h.Addr)
			}
		}
	}
	for _, r := range e.config.Others {
		target, err := wire.AppendName(nil, r.Target)
		if err != nil || !isName(r.Name) {
			continue
		}
		if h := e.at(r.Name); h != nil {
			h.Records = append(h.Records, recordOf(r.Port, r.Priority, r.Weight, target))
		}
	}
}

// recordOf is an SRV record, or without a port an MX record (RFC 2782, RFC 1035
// section 3.3.9).
func recordOf(port, priority, weight uint16, target []byte) dnsrouter.Record {
	numbers := []uint16{priority, weight, port}
	typ := wire.TypeSRV
	if port == 0 {
		numbers, typ = numbers[:1], wire.TypeMX
	}
	var data []byte
	for _, n := range numbers {
		data = append(data, byte(n>>8), byte(n))
	}
	return dnsrouter.Record{Type: typ, Data: append(data, target...)}
}

// addHosts takes a line of a hosts file: an address and its names.
func (e *entries) addHosts(line string) {
	if addr, names, ok := hostsLine(line); ok {
		e.addHost(addr, names)
	}
}

func hostsLine(line string) (netip.Addr, []string, bool) {
	text, _, _ := strings.Cut(line, "#")
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return netip.Addr{}, nil, false
	}
	addr, err := netip.ParseAddr(fields[0])
	return addr.Unmap().WithZone(""), fields[1:], err == nil
}

// addHost gives an address its names. A name without a dot is in the local
// domain, too.
func (e *entries) addHost(addr netip.Addr, names []string) {
	for _, name := range names {
		if name = canonical(name); !isName(name) {
			continue
		}
		if e.config.ExpandHosts {
			if full := e.qualified(name); full != name {
				e.add(full, addr)
			}
		}
		e.add(name, addr)
	}
}

// qualified is a name with the local domain, if it has none.
func (e *entries) qualified(name string) string {
	if e.config.Domain == "" || strings.Contains(name, ".") {
		return name
	}
	return name + "." + e.config.Domain
}

// add leads a name to an address. The first name of an address is what it is
// called.
func (e *entries) add(name string, addr netip.Addr) {
	h := e.at(name)
	if h == nil {
		return
	}
	if !slices.Contains(h.Addrs, addr) {
		h.Addrs = append(h.Addrs, addr)
	}
	if _, known := e.names[addr]; !known {
		e.names[addr] = name
	}
}

// at is the entry of a name; nil if there are too many.
func (e *entries) at(name string) *dnsrouter.Host {
	h := e.byName[name]
	if h != nil {
		return h
	}
	if e.full = e.full || len(e.byName) >= maxNames; e.full {
		return nil
	}
	h = new(dnsrouter.Host)
	e.byName[name] = h
	return h
}

// canonical is a name as questions have it.
func canonical(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// isName refuses what is no host name (RFC 1123 section 2.1; underscores are
// common).
func isName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
