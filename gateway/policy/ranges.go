package policy

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"
)

// ranges is a set of addresses: sorted ranges that neither overlap nor touch.
type ranges struct {
	v4 []span[key4]
	v6 []span[key6]
}

// span is a range of addresses, both ends within.
type span[K any] struct{ first, last K }

// key is an address as a number.
type key[K any] interface {
	compare(K) int
	next() K
}

type key4 uint32

func (k key4) compare(o key4) int { return cmp.Compare(k, o) }
func (k key4) next() key4         { return k + 1 }

type key6 struct{ hi, lo uint64 }

func (k key6) compare(o key6) int {
	return cmp.Or(cmp.Compare(k.hi, o.hi), cmp.Compare(k.lo, o.lo))
}

func (k key6) next() key6 {
	k.lo++
	if k.lo == 0 {
		k.hi++
	}
	return k
}

func key4Of(addr netip.Addr) key4 {
	b := addr.As4()
	return key4(binary.BigEndian.Uint32(b[:]))
}

func key6Of(addr netip.Addr) key6 {
	b := addr.As16()
	return key6{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}
}

func (k key4) addr() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(k))
	return netip.AddrFrom4(b)
}

func (k key6) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return netip.AddrFrom16(b)
}

// rangesOf is the set of all addresses within the prefixes. IPv4 prefixes
// mapped into IPv6 are taken for what they are.
func rangesOf(prefixes []netip.Prefix) ranges {
	var r ranges
	for _, p := range prefixes {
		r.add(p)
	}
	r.merge()
	return r
}

// add appends a prefix; merge has to follow before the set is used.
func (r *ranges) add(p netip.Prefix) {
	p = unmapped(p).Masked()
	first, last := p.Addr(), lastOf(p)
	if first.Is4() {
		r.v4 = append(r.v4, span[key4]{key4Of(first), key4Of(last)})
	} else {
		r.v6 = append(r.v6, span[key6]{key6Of(first), key6Of(last)})
	}
}

func (r *ranges) merge() {
	r.v4 = merge(r.v4)
	r.v6 = merge(r.v6)
}

func (r *ranges) empty() bool { return len(r.v4)+len(r.v6) == 0 }

// contain says whether the address is in the set; a zone is not looked at, and
// the zero address is in none.
func (r *ranges) contain(addr netip.Addr) bool {
	addr = addr.Unmap()
	switch {
	case addr.Is4():
		_, ok := find(r.v4, key4Of(addr))
		return ok
	case addr.Is6():
		_, ok := find(r.v6, key6Of(addr))
		return ok
	}
	return false
}

// cover says whether all addresses of the prefix are in the set.
func (r *ranges) cover(p netip.Prefix) bool {
	p = unmapped(p).Masked()
	if p.Addr().Is4() {
		s, ok := find(r.v4, key4Of(p.Addr()))
		return ok && s.last >= key4Of(lastOf(p))
	}
	s, ok := find(r.v6, key6Of(p.Addr()))
	return ok && s.last.compare(key6Of(lastOf(p))) >= 0
}

// prefixes gives the set as the fewest prefixes, in order, IPv4 first.
func (r *ranges) prefixes() []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range r.v4 {
		ps = appendPrefixes(ps, s.first.addr(), s.last.addr())
	}
	for _, s := range r.v6 {
		ps = appendPrefixes(ps, s.first.addr(), s.last.addr())
	}
	return ps
}

// merge sorts spans and joins those that overlap or touch.
func merge[K key[K]](spans []span[K]) []span[K] {
	slices.SortFunc(spans, func(a, b span[K]) int { return a.first.compare(b.first) })
	merged := spans[:0]
	for _, s := range spans {
		if len(merged) > 0 {
			before := &merged[len(merged)-1]
			if s.first.compare(before.last) <= 0 || s.first.compare(before.last.next()) == 0 {
				if s.last.compare(before.last) > 0 {
					before.last = s.last
				}
				continue
			}
		}
		merged = append(merged, s)
	}
	return slices.Clip(merged)
}

// find is the span that holds the address.
func find[K key[K]](spans []span[K], k K) (span[K], bool) {
	i := sort.Search(len(spans), func(i int) bool { return spans[i].first.compare(k) > 0 })
	if i == 0 || spans[i-1].last.compare(k) < 0 {
		return span[K]{}, false
	}
	return spans[i-1], true
}

// RangePrefixes gives the fewest prefixes that together hold the addresses from
// first to last, which are of one family, and in this order.
func RangePrefixes(first, last netip.Addr) []netip.Prefix { return appendPrefixes(nil, first, last) }

// MergePrefixes gives the fewest prefixes that hold the same addresses: in order,
// without overlaps, IPv4 first.
func MergePrefixes(prefixes []netip.Prefix) []netip.Prefix {
	merged := rangesOf(prefixes)
	return merged.prefixes()
}

// LastAddr is the last address of a prefix.
func LastAddr(p netip.Prefix) netip.Addr { return lastOf(p) }

// appendPrefixes cuts a range into prefixes, each the widest that begins where
// the one before it ended.
func appendPrefixes(ps []netip.Prefix, first, last netip.Addr) []netip.Prefix {
	for {
		p := widest(first, last)
		ps = append(ps, p)
		end := lastOf(p)
		if end == last {
			return ps
		}
		first = end.Next()
	}
}

func widest(first, last netip.Addr) netip.Prefix {
	for bits := range first.BitLen() {
		p := netip.PrefixFrom(first, bits)
		if p.Masked().Addr() == first && lastOf(p).Compare(last) <= 0 {
			return p
		}
	}
	return netip.PrefixFrom(first, first.BitLen())
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	for bit := 128 - p.Addr().BitLen() + p.Bits(); bit < 128; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	if p.Addr().Is4() {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom16(b)
}

// unmapped is the IPv4 prefix that a prefix under ::ffff:0:0/96 (RFC 4291
// section 2.5.5.2) stands for; every other prefix stays as it is.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
