package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Inventory is what of the table is in the kernel, without the addresses in it.
type Inventory struct {
	Rules    map[string]int // number by chain; chains without rules are missing
	Elements map[string]int // number by set or map
	Current  bool           // the rules are those of the ruleset that was asked for
}

// Inventory counts what is in the kernel, whoever installed it, and holds it
// against a ruleset.
func (t *Table) Inventory(rs *Ruleset) (Inventory, error) {
	all := Inventory{Rules: map[string]int{}, Elements: map[string]int{}}
	rules, err := t.dump(unix.NFT_MSG_GETRULE, nothing)
	if err != nil {
		return all, fmt.Errorf("listing the rules of table %s: %w", TableName, err)
	}
	for _, r := range rules {
		all.Rules[attributeText(r, unix.NFTA_RULE_CHAIN)]++
		all.Current = all.Current || bytes.Contains(r.Data, []byte(rs.Fingerprint()))
	}
	sets, err := t.dump(unix.NFT_MSG_GETSET, nothing)
	if err != nil {
		return all, fmt.Errorf("listing the sets of table %s: %w", TableName, err)
	}
	for _, s := range sets {
		name := setName(s)
		elements, err := t.dump(unix.NFT_MSG_GETSETELEM, func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_SET_ELEM_LIST_SET, name) })
		if err != nil {
			return all, fmt.Errorf("listing the elements of set %s: %w", name, err)
		}
		for _, part := range elements {
			all.Elements[name] += countElements(part)
		}
	}
	return all, nil
}

// countElements counts those of one message. An interval counts once: its end is
// an element of its own where the kernel keeps it so.
func countElements(list netlink.Message) (n int) {
	attributes(list, func(element []byte) {
		end := false
		walk(element, func(flags []byte) {
			end = len(flags) == 4 && binary.BigEndian.Uint32(flags)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		}, unix.NFTA_SET_ELEM_FLAGS)
		if !end {
			n++
		}
	}, unix.NFTA_SET_ELEM_LIST_ELEMENTS, unix.NFTA_LIST_ELEM)
	return n
}

// attributeText is an attribute of an object that is a string.
func attributeText(m netlink.Message, kind uint16) (text string) {
	attributes(m, func(value []byte) { text = unix.ByteSliceToString(value) }, kind)
	return text
}

// attributes gives what a path of attributes leads to in an object. Of one that
// cannot be read there is nothing.
func attributes(m netlink.Message, each func(value []byte), path ...uint16) {
	if len(m.Data) >= 4 { // struct nfgenmsg
		walk(m.Data[4:], each, path...)
	}
}
