package nft

import (
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// retire has fake addresses relayed whose sets the next ruleset lacks, or has
// for another device. To be relayed is never wrong, so it is done before the
// transaction that deletes the sets; nothing can get into them in between.
// Other addresses need no place to go to: their sets just end.
func (t *Table) retire(next *Ruleset) error {
	const doing = "retiring interfaces"
	for _, s := range t.ruleset.sets {
		if s.content != fromFakes || next.keeps(s) {
			continue
		}
		fakes, err := t.keys(s)
		if err != nil {
			return fmt.Errorf("%s: listing set %s: %w", doing, s.name, err)
		}
		if err := t.settle(doing, t.ruleset.retired(fakes)); err != nil {
			return err
		}
	}
	return nil
}

// retired is how fake addresses that stand for real ones come to be relayed.
func (r *Ruleset) retired(fakes []netip.Addr) [][]placement {
	var groups [][]placement
	for _, a := range fakes {
		f, err := familyOf(a)
		if err != nil {
			continue // not ours
		}
		group := r.onlyLeads(f, a, Relay)
		group[len(group)-1].there = true // in the map to the real ones
		groups = append(groups, group)
	}
	return groups
}

// keys lists the addresses in a set.
func (t *Table) keys(s set) ([]netip.Addr, error) {
	lists, err := t.dump(unix.NFT_MSG_GETSETELEM, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
	})
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, list := range lists {
		err := eachKey(list, func(key []byte) {
			if a, ok := netip.AddrFromSlice(key); ok {
				all = append(all, a)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// eachKey reads a part of a list of elements.
func eachKey(list netlink.Message, each func(key []byte)) error {
	if len(list.Data) < 4 { // struct nfgenmsg
		return nil
	}
	return walk(list.Data[4:], each, unix.NFTA_SET_ELEM_LIST_ELEMENTS, unix.NFTA_LIST_ELEM, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)
}

// walk follows a path of nested attributes to all that it leads to.
func walk(data []byte, each func(data []byte), path ...uint16) error {
	if len(path) == 0 {
		each(data)
		return nil
	}
	return eachAttribute(data, path[0], func(inner []byte) error { return walk(inner, each, path[1:]...) })
}

func eachAttribute(data []byte, kind uint16, each func(data []byte) error) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	for ad.Next() {
		if ad.Type() != kind {
			continue
		}
		if err := each(ad.Bytes()); err != nil {
			return err
		}
	}
	return ad.Err()
}
