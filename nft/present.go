package nft

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Present tells whether the installed table is in the kernel with all its rules
// and sets. It does not compare elements.
func (t *Table) Present() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.ruleset == nil {
		return false, nil
	}
	rules, err := t.dump(unix.NFT_MSG_GETRULE, nothing)
	if err != nil {
		return false, fmt.Errorf("listing the rules of table %s: %w", TableName, err)
	}
	sets, err := t.dump(unix.NFT_MSG_GETSET, nothing)
	if err != nil {
		return false, fmt.Errorf("listing the sets of table %s: %w", TableName, err)
	}
	stamped := false
	for _, r := range rules {
		stamped = stamped || bytes.Contains(r.Data, []byte(t.ruleset.Fingerprint()))
	}
	return stamped && len(rules) == t.ruleset.rules() && t.ruleset.hasSets(sets), nil
}

// dump lists the objects of one kind in the table, or in what else the
// attributes name. A table that is not there has none.
func (t *Table) dump(kind uint16, in func(ae *netlink.AttributeEncoder)) ([]netlink.Message, error) {
	w := wire{netns: t.netns} // its own: answers of a list and of a transaction would mix
	if err := w.open(); err != nil {
		return nil, err
	}
	defer w.close()
	place, err := attributeBytes(func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, TableName)
		in(ae)
	})
	if err != nil {
		return nil, err
	}
	request := netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
			Flags: netlink.Request | netlink.Dump,
		},
		Data: append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, place...),
	}
	for {
		objects, err := w.conn.Execute(request)
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		if err != nil || !slices.ContainsFunc(objects, interrupted) {
			return objects, err
		}
	}
}

// interrupted tells that somebody changed a table meanwhile, so that the list
// may lack objects. The deadline of the socket bounds how often that is borne.
func interrupted(m netlink.Message) bool { return m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 }

// hasSets tells whether every named set of the ruleset is among the objects.
func (r *Ruleset) hasSets(objects []netlink.Message) bool {
	names := map[string]bool{}
	for _, o := range objects {
		names[setName(o)] = true
	}
	for _, s := range r.sets {
		if !names[s.name] {
			return false
		}
	}
	return true
}

func setName(m netlink.Message) string { return attributeText(m, unix.NFTA_SET_NAME) }
