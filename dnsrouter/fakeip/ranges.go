package fakeip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// ranges turns slots into addresses and back.
type ranges struct {
	prefix4, prefix6 netip.Prefix
	last             Slot // slots are 1 to last
}

func newRanges(prefix4, prefix6 netip.Prefix, maxNames int) (ranges, error) {
	r := ranges{prefix4: prefix4.Masked(), prefix6: prefix6.Masked(), last: maxSlots}
	if !prefix4.IsValid() && !prefix6.IsValid() {
		return ranges{}, errors.New("no range given")
	}
	if prefix4.IsValid() && !prefix4.Addr().Is4() || prefix6.IsValid() && !prefix6.Addr().Is6() {
		return ranges{}, fmt.Errorf("ranges %s and %s are not one of IPv4 and one of IPv6", prefix4, prefix6)
	}
	for _, p := range []netip.Prefix{prefix4, prefix6} {
		if !p.IsValid() {
			continue
		}
		hostBits := p.Addr().BitLen() - p.Bits()
		if hostBits < 2 {
			return ranges{}, fmt.Errorf("range %s is too small to give addresses", p)
		}
		r.last = min(r.last, 1<<min(hostBits, 24)-2) // all but the network's and the broadcast address
	}
	if maxNames > 0 {
		r.last = Slot(min(int(r.last), maxNames))
	}
	return r, nil
}

// addrs relies on a slot having fewer bits than either range leaves to hosts.
func (r ranges) addrs(s Slot) (v4, v6 netip.Addr) {
	if s == 0 || s > r.last {
		return v4, v6
	}
	return r.at(s)
}

// at is addrs for any slot.
func (r ranges) at(s Slot) (v4, v6 netip.Addr) {
	if r.prefix4.IsValid() {
		b := r.prefix4.Addr().As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|uint32(s))
		v4 = netip.AddrFrom4(b)
	}
	if r.prefix6.IsValid() {
		b := r.prefix6.Addr().As16()
		binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])|uint32(s))
		v6 = netip.AddrFrom16(b)
	}
	return v4, v6
}

// block is the prefixes of the block of slots that begins with first: a range that
// holds a block is aligned to one.
func (r ranges) block(first Slot) (v4, v6 netip.Prefix) {
	a4, a6 := r.at(first)
	if a4.IsValid() {
		v4 = netip.PrefixFrom(a4, a4.BitLen()-blockBits)
	}
	if a6.IsValid() {
		v6 = netip.PrefixFrom(a6, a6.BitLen()-blockBits)
	}
	return v4, v6
}

// holds says whether the ranges have all addresses of the block. Those of the
// network and of broadcast may be among them.
func (r ranges) holds(first Slot) bool { return first+BlockSlots <= r.last+2 }

// slotsIn is how many slots a block has that names can get, if the ranges hold it.
func (r ranges) slotsIn(first Slot) int {
	n := BlockSlots
	if first == 0 {
		n--
	}
	if first+BlockSlots > r.last+1 {
		n--
	}
	return n
}

// slot is the inverse of addrs; ok is false for every address that it does not give.
func (r ranges) slot(addr netip.Addr) (s Slot, ok bool) {
	var base, low uint32
	switch {
	case r.prefix4.Contains(addr):
		a, b := addr.As4(), r.prefix4.Addr().As4()
		low, base = binary.BigEndian.Uint32(a[:]), binary.BigEndian.Uint32(b[:])
	case r.prefix6.Contains(addr):
		a, b := addr.As16(), r.prefix6.Addr().As16()
		if [12]byte(a[:12]) != [12]byte(b[:12]) {
			return 0, false
		}
		low, base = binary.BigEndian.Uint32(a[12:]), binary.BigEndian.Uint32(b[12:])
	default:
		return 0, false
	}
	s = Slot(low - base)
	return s, s != 0 && s <= r.last
}

func (r ranges) contains(addr netip.Addr) bool {
	return r.prefix4.Contains(addr) || r.prefix6.Contains(addr)
}

// String names the ranges in a journal's first line: what it says must not change.
func (r ranges) String() string { return r.prefix4.String() + " " + r.prefix6.String() }
