package firewall

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
)

// addresses reads an address, a prefix, an address with a mask, or a range. False
// stands for what is none of these: the name of a network, or a mask with holes.
func addresses(text string) ([]netip.Prefix, bool) {
	if from, to, ok := strings.Cut(text, "-"); ok && !strings.Contains(text, "/") {
		a, err1 := netip.ParseAddr(from)
		b, err2 := netip.ParseAddr(to)
		if err1 != nil || err2 != nil || !plain(a) || !plain(b) || a.BitLen() != b.BitLen() || b.Less(a) {
			return nil, false
		}
		return policy.RangePrefixes(a, b), true
	}
	host, mask, ok := strings.Cut(text, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || !plain(a) {
		return nil, false
	}
	bits := a.BitLen()
	if ok {
		bits, ok = maskBits(mask, a)
		if !ok {
			return nil, false
		}
	}
	p, err := a.Prefix(bits)
	return []netip.Prefix{p}, err == nil
}

func plain(a netip.Addr) bool { return !a.Is4In6() && a.Zone() == "" }

// maskBits reads what stands behind the slash: a number of bits, or a mask.
func maskBits(text string, of netip.Addr) (bits int, ok bool) {
	if n, err := strconv.ParseUint(text, 10, 8); err == nil {
		return int(n), int(n) <= of.BitLen()
	}
	mask, err := netip.ParseAddr(text)
	if err != nil || mask.BitLen() != of.BitLen() {
		return 0, false
	}
	ended := false
	for _, b := range mask.AsSlice() {
		for bit := byte(0x80); bit != 0; bit >>= 1 {
			switch {
			case b&bit == 0:
				ended = true
			case ended:
				return 0, false
			default:
				bits++
			}
		}
	}
	return bits, true
}
