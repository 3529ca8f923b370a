package lab

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// zone is what is true in the world's DNS, and what the ISP makes of it.
type zone struct {
	at       Addresses
	hosts    map[string][]netip.Addr // with all subdomains; the longest name counts
	domestic []string                // names that the ISP answers rightly
	ttl      uint32
}

func newZone(at Addresses, o Options) zone {
	both := func(p Pair) []netip.Addr { return []netip.Addr{p.V4, p.V6} }
	z := zone{
		at: at,
		hosts: map[string][]netip.Addr{
			"":                     both(at.Foreign),
			"domestic.example":     both(at.Domestic),
			"foreign.example":      both(at.Foreign),
			"cdn.domestic.example": both(at.Shared),
			"cdn.foreign.example":  both(at.Shared),
			"blocked.example":      both(at.Blocked),
		},
		domestic: append([]string{"domestic.example"}, o.Domestic...),
		ttl:      o.TTL,
	}
	for name, addrs := range o.Hosts {
		z.hosts[name] = addrs
	}
	if z.ttl == 0 {
		z.ttl = 300
	}
	return z
}

// honest answers any question rightly: every name exists, except those whose
// first label is nx.
func (z zone) honest(name string, qtype uint16) (rcode int, answers []Record) {
	if name == "nx" || strings.HasPrefix(name, "nx.") {
		return NXDomain, nil
	}
	return NoError, z.records(name, qtype, z.addrs(name))
}

// poisoned is the ISP's answer: what it does not know to be domestic is at the
// poisoned address, whether it exists or not.
func (z zone) poisoned(name string, qtype uint16) (rcode int, answers []Record) {
	if matches(name, z.domestic) {
		return z.honest(name, qtype)
	}
	return NoError, z.records(name, qtype, []netip.Addr{z.at.Poison.V4, z.at.Poison.V6})
}

func (z zone) addrs(name string) []netip.Addr {
	for {
		if addrs, ok := z.hosts[name]; ok {
			return addrs
		}
		_, name, _ = strings.Cut(name, ".")
	}
}

func (z zone) records(name string, qtype uint16, addrs []netip.Addr) (answers []Record) {
	add := func(data []byte) { answers = append(answers, Record{Name: name, Type: qtype, TTL: z.ttl, Data: data}) }
	switch qtype {
	case TypeA, TypeAAAA:
		for _, a := range addrs {
			if a.Is4() == (qtype == TypeA) {
				add(a.AsSlice())
			}
		}
	case TypeHTTPS, TypeSVCB:
		add(service(addrs))
	case TypeTXT:
		add(append([]byte{byte(len("seen"))}, "seen"...))
	case TypePTR:
		add(appendName(nil, "host.foreign.example"))
	}
	return answers
}

// service is a ServiceMode record with alpn, address hints and ech (RFC 9460,
// section 14.3.2).
func service(addrs []netip.Addr) []byte {
	const alpn, ipv4hint, ech, ipv6hint = 1, 4, 5, 6
	var hints4, hints6 []byte
	for _, a := range addrs {
		if a.Is4() {
			hints4 = append(hints4, a.AsSlice()...)
		} else {
			hints6 = append(hints6, a.AsSlice()...)
		}
	}
	b := []byte{0, 1, 0} // priority 1, target: the owner itself
	for _, p := range []struct {
		key   uint16
		value []byte
	}{{alpn, []byte("\x02h2")}, {ipv4hint, hints4}, {ech, []byte("lab ech config")}, {ipv6hint, hints6}} {
		if len(p.value) == 0 {
			continue
		}
		b = binary.BigEndian.AppendUint16(b, p.key)
		b = binary.BigEndian.AppendUint16(b, uint16(len(p.value)))
		b = append(b, p.value...)
	}
	return b
}

// matches tells whether a name is one of names or below one.
func matches(name string, names []string) bool {
	for _, n := range names {
		if name == n || strings.HasSuffix(name, "."+n) {
			return true
		}
	}
	return false
}
