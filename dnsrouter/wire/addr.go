package wire

import (
	"encoding/binary"
	"net/netip"
)

// IsPrivate tells whether addr lies in a network that no name of the public DNS
// has business to lead to: "this host" (0/8), broadcast, loopback, link-local,
// RFC 1918, shared (RFC 6598), unique local, site-local (RFC 3879), and NAT64 of
// one's own network (RFC 8215); also as it is written in IPv6: mapped
// (::ffff:0:0/96), compatible (::/96), for NAT64 (64:ff9b::/96, RFC 6052) or for
// 6to4 (2002::/16, RFC 3056). The fakeip ranges are the caller's to add.
func IsPrivate(addr netip.Addr) bool {
	addr = embedded(addr)
	if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() {
		return true
	}
	if addr.Is4() {
		a := addr.As4()
		return a[0] == 0 || a[0] == 100 && a[1]&0xc0 == 64 || a == [4]byte{255, 255, 255, 255}
	}
	a := addr.As16()
	siteLocal := a[0] == 0xfe && a[1]&0xc0 == 0xc0
	return siteLocal || [6]byte(a[:6]) == [6]byte{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}
}

// embedded returns the IPv4 address that an IPv6 address stands for, else addr.
func embedded(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap(); addr.Is4() {
		return addr
	}
	a := addr.As16()
	high, mid := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint32(a[8:])
	nat64 := high == 0x0064ff9b<<32 && mid == 0
	compatible := high == 0 && mid == 0 && binary.BigEndian.Uint32(a[12:]) > 1 // not :: and ::1
	switch {
	case nat64, compatible:
		return netip.AddrFrom4([4]byte(a[12:]))
	case a[0] == 0x20 && a[1] == 0x02:
		return netip.AddrFrom4([4]byte(a[2:]))
	}
	return addr
}

// ReversePrefix returns what a name of the reverse zones stands for: an address
// (a prefix of full length), or a network for names with fewer labels; names
// that are neither, or no whole octets, are not ok. Name is lower-case, as
// Query.Name gives it.
func ReversePrefix(name []byte) (netip.Prefix, bool) {
	if rest, ok := cutZone(name, "in-addr.arpa"); ok {
		return reverse4(rest)
	}
	if rest, ok := cutZone(name, "ip6.arpa"); ok {
		return reverse6(rest)
	}
	return netip.Prefix{}, false
}

// cutZone returns what stands before the zone, without the dot between.
func cutZone(name []byte, zone string) ([]byte, bool) {
	n := len(name) - len(zone)
	switch {
	case n < 0 || string(name[n:]) != zone:
		return nil, false
	case n == 0:
		return nil, true
	}
	return name[:n-1], n > 1 && name[n-1] == '.'
}

func reverse4(labels []byte) (netip.Prefix, bool) {
	var a [4]byte
	octets, i := 0, len(labels)
	for ; i > 0 && octets < 4; octets++ {
		value, unit, digits := 0, 1, 0
		for ; i > 0 && labels[i-1] != '.'; i-- {
			if c := labels[i-1]; c < '0' || c > '9' || digits == 3 {
				return netip.Prefix{}, false
			}
			value += int(labels[i-1]-'0') * unit
			unit *= 10
			digits++
		}
		if digits == 0 || value > 255 {
			return netip.Prefix{}, false
		}
		a[octets] = byte(value)
		i-- // the dot
	}
	return netip.PrefixFrom(netip.AddrFrom4(a), 8*octets), i <= 0
}

func reverse6(labels []byte) (netip.Prefix, bool) {
	var a [16]byte
	nibbles := 0
	for i := len(labels) - 1; i >= 0; i -= 2 {
		v := hexValue(labels[i])
		if v < 0 || nibbles == 32 || i > 0 && labels[i-1] != '.' || i == 1 {
			return netip.Prefix{}, false
		}
		a[nibbles/2] |= byte(v) << (4 - 4*(nibbles%2))
		nibbles++
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), 4*nibbles), true
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
