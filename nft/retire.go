package nft

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// retire has what leads to interfaces that the next ruleset lacks, or has in
// another place, relayed: fake addresses by their elements, others by having
// none. The elements would keep the chains from being deleted, and could mean
// another interface later. To be relayed is never wrong, so it is done before
// the transaction that deletes the chains; nothing can lead there in between.
func (t *Table) retire(next *Ruleset) error {
	const doing = "retiring interfaces"
	chains := t.ruleset.lost(next)
	if len(chains) == 0 {
		return nil
	}
	for _, s := range t.ruleset.sets {
		if !s.verdicts || s.content != fromTraffic && s.content != fromNames {
			continue
		}
		keys, err := t.leadingTo(s, chains)
		if err != nil {
			return fmt.Errorf("%s: listing map %s: %w", doing, s.name, err)
		}
		if err := t.settle(doing, t.ruleset.retired(s, keys)); err != nil {
			return err
		}
	}
	return nil
}

// lost are the chains of interfaces that the next ruleset does not have as they are.
func (r *Ruleset) lost(next *Ruleset) []string {
	var chains []string
	for _, i := range r.interfaces {
		stays := func(n Interface) bool { return n.N == i.N && n.Device == i.Device }
		if !slices.ContainsFunc(next.interfaces, stays) {
			chains = append(chains, i.wayChain())
		}
	}
	return chains
}

// retired is how the keys of a map come to lead to no interface.
func (r *Ruleset) retired(s set, keys []netip.Addr) [][]placement {
	groups := make([][]placement, 0, len(keys))
	for _, a := range keys {
		group := []placement{{set: s.name, element: leads(addrValue(a), Relay.verdict()), gone: true}}
		for _, f := range families() {
			if s.name == fakeWaySet+f.suffix() {
				group = r.onlyLeads(f, a, relayChain)
			}
		}
		for i := range group {
			group[i].there = true
		}
		groups = append(groups, group)
	}
	return groups
}

// leadingTo lists the addresses whose elements go to one of the chains.
func (t *Table) leadingTo(s set, chains []string) ([]netip.Addr, error) {
	lists, err := t.dump(unix.NFT_MSG_GETSETELEM, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
	})
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, list := range lists {
		err := eachElement(list, func(key []byte, chain string) {
			if a, ok := netip.AddrFromSlice(key); ok && slices.Contains(chains, chain) {
				all = append(all, a)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// eachElement reads a part of a list of elements: the key of each, and the
// chain that its verdict goes to, if any.
func eachElement(list netlink.Message, each func(key []byte, chain string)) error {
	if len(list.Data) < 4 { // struct nfgenmsg
		return nil
	}
	return eachAttribute(list.Data[4:], unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(elements []byte) error {
		return eachAttribute(elements, unix.NFTA_LIST_ELEM, func(element []byte) error {
			key, err := attribute(element, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)
			if err != nil {
				return err
			}
			chain, err := attribute(element, unix.NFTA_SET_ELEM_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CHAIN)
			if err != nil {
				return err
			}
			each(key, unix.ByteSliceToString(chain))
			return nil
		})
	})
}

// attribute follows a path of nested attributes; nil: there is none.
func attribute(data []byte, path ...uint16) (found []byte, err error) {
	if len(path) == 0 {
		return data, nil
	}
	err = eachAttribute(data, path[0], func(inner []byte) (err error) {
		found, err = attribute(inner, path[1:]...)
		return err
	})
	return found, err
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
