package nft

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// maxAttribute bounds the elements of one message: the length of a netlink
// attribute has 16 bits, and what does not fit would be cut off without a word.
const maxAttribute = 60000

// batch is a transaction under construction: the kernel applies all of it or
// nothing. The expressions are encoded by google/nftables; the messages are
// not, because its Conn cannot say which message was refused, asks for an
// acknowledgement of each (which overflows the socket), and cannot encode
// `ct original ip daddr`.
type batch struct {
	table    string
	messages []netlink.Message
	doing    []string // of each message, for errors
	sets     uint32   // ids given to sets in this transaction
	err      error
}

func newBatch(table string) *batch { return &batch{table: table} }

// add appends a message about the table. The first attribute of each kind of
// message is the table's name.
func (b *batch) add(kind uint16, flags netlink.HeaderFlags, doing string, attributes func(ae *netlink.AttributeEncoder)) {
	data, err := attributeBytes(func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, b.table)
		attributes(ae)
	})
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", doing, err)
	}
	b.messages = append(b.messages, netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, data...), // struct nfgenmsg
	})
	b.doing = append(b.doing, doing)
}

func attributeBytes(fill func(ae *netlink.AttributeEncoder)) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	fill(ae)
	return ae.Encode()
}

// nest appends an attribute that holds others.
func nest(ae *netlink.AttributeEncoder, kind uint16, fill func(ae *netlink.AttributeEncoder)) {
	ae.Nested(kind, func(inner *netlink.AttributeEncoder) error {
		fill(inner)
		return nil
	})
}

func nothing(*netlink.AttributeEncoder) {}

func (b *batch) addTable() {
	b.add(unix.NFT_MSG_NEWTABLE, netlink.Create, "adding table "+b.table, nothing)
}

func (b *batch) deleteTable() {
	b.add(unix.NFT_MSG_DELTABLE, 0, "deleting table "+b.table, nothing)
}

// flushChains deletes the rules of every chain.
func (b *batch) flushChains() {
	b.add(unix.NFT_MSG_DELRULE, 0, "flushing the chains of table "+b.table, nothing)
}

func (b *batch) addChain(c chain) {
	b.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, "adding chain "+c.name, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_NAME, c.name)
		if c.hook == nil {
			return
		}
		nest(ae, unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, c.hook.number)
			ae.Int32(unix.NFTA_HOOK_PRIORITY, c.hook.priority)
		})
		ae.Uint32(unix.NFTA_CHAIN_POLICY, uint32(expr.VerdictAccept))
		ae.String(unix.NFTA_CHAIN_TYPE, c.hook.kind)
	})
}

func (b *batch) deleteChain(name string) {
	b.add(unix.NFT_MSG_DELCHAIN, 0, "deleting chain "+name, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_NAME, name)
	})
}

func (b *batch) addRule(chain string, r rule) {
	e := &encoder{batch: b}
	for _, s := range r.steps {
		s.encode(e)
	}
	doing := "adding to chain " + chain + " the rule " + r.text()
	if e.err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", doing, e.err)
	}
	b.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, doing, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_CHAIN, chain)
		nest(ae, unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) {
			for _, x := range e.expressions {
				ae.Bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, x)
			}
		})
		if r.comment != "" {
			ae.Bytes(unix.NFTA_RULE_USERDATA, userdata(udataComment, append([]byte(r.comment), 0)))
		}
	})
}

// Types of user data, from libnftnl's include/libnftnl/udata.h. Only nft reads it.
const (
	udataComment      = 0 // of a rule
	udataKeyByteOrder = 0 // of a set: 1 the host's, 2 big endian
)

func userdata(kind byte, data []byte) []byte {
	return append([]byte{kind, byte(len(data))}, data...)
}

func (b *batch) addSet(s set) { b.declare(s, "adding set "+s.name, 0) }

// anonymous adds a set that lives as long as the next rule, which names it by
// name and id.
func (b *batch) anonymous(s set) (name string, id uint32) {
	s.name = "__set%d" // the kernel numbers it
	if s.verdicts {
		s.name = "__map%d"
	}
	return s.name, b.declare(s, "adding an anonymous set", unix.NFT_SET_ANONYMOUS|unix.NFT_SET_CONSTANT)
}

func (b *batch) declare(s set, doing string, flags uint32) uint32 {
	b.sets++
	id := b.sets
	b.add(unix.NFT_MSG_NEWSET, netlink.Create, doing, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_SET_FLAGS, flags|s.flags())
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, keyID(s.key))
		ae.Uint32(unix.NFTA_SET_KEY_LEN, keySize(s.key))
		ae.Uint32(unix.NFTA_SET_ID, id)
		switch {
		case s.verdicts:
			ae.Uint32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
		case s.values != nil:
			ae.Uint32(unix.NFTA_SET_DATA_TYPE, s.values.id)
			ae.Uint32(unix.NFTA_SET_DATA_LEN, s.values.size)
		}
		if s.lifetime != 0 {
			ae.Uint64(unix.NFTA_SET_TIMEOUT, uint64(s.lifetime.Milliseconds()))
		}
		if flags&unix.NFT_SET_CONSTANT != 0 { // a known size gets a faster kind of set
			nest(ae, unix.NFTA_SET_DESC, func(ae *netlink.AttributeEncoder) {
				ae.Uint32(unix.NFTA_SET_DESC_SIZE, uint32(len(s.elements)))
			})
		}
		ae.Bytes(unix.NFTA_SET_USERDATA, userdata(udataKeyByteOrder, binaryutil.NativeEndian.PutUint32(keyOrder(s.key))))
	})
	b.addElements(s, id, s.elements)
	return id
}

func (s set) flags() uint32 {
	var flags uint32
	if s.verdicts || s.values != nil {
		flags |= unix.NFT_SET_MAP
	}
	if s.interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.timeout {
		flags |= unix.NFT_SET_TIMEOUT
	}
	if s.dynamic {
		flags |= unix.NFT_SET_EVAL
	}
	return flags
}

// keyID is what nft makes of a concatenation: six bits for each type.
func keyID(key []datatype) uint32 {
	var id uint32
	for _, k := range key {
		id = id<<6 | k.id
	}
	return id
}

func keySize(key []datatype) uint32 {
	if len(key) == 1 {
		return key[0].size
	}
	var size uint32
	for _, k := range key {
		size += (k.size + 3) &^ 3
	}
	return size
}

func keyOrder(key []datatype) uint32 {
	if len(key) == 1 && key[0].host {
		return 1
	}
	return 2
}

func (b *batch) deleteSet(name string) {
	b.add(unix.NFT_MSG_DELSET, 0, "deleting set "+name, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_NAME, name)
	})
}

func (b *batch) addElements(s set, id uint32, elements []element) {
	b.elements(unix.NFT_MSG_NEWSETELEM, netlink.Create, "adding elements to set "+s.name, s.name, id, elements)
}

func (b *batch) deleteElements(s set, elements []element) {
	b.elements(unix.NFT_MSG_DELSETELEM, 0, "deleting elements of set "+s.name, s.name, 0, elements)
}

// flushSet deletes every element.
func (b *batch) flushSet(name string) {
	b.add(unix.NFT_MSG_DELSETELEM, 0, "flushing set "+name, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, name)
	})
}

// elements cuts a list of elements into as many messages as it needs.
func (b *batch) elements(kind uint16, flags netlink.HeaderFlags, doing, set string, id uint32, elements []element) {
	for len(elements) > 0 {
		var list []byte
		n := 0
		for n < len(elements) && len(list) < maxAttribute {
			list = appendElement(list, elements[n])
			n++
		}
		elements = elements[n:]
		b.add(kind, flags, doing, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
			if id != 0 {
				ae.Uint32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
			}
			ae.Bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, list)
		})
	}
}

// appendElement appends one list entry, or two for an interval with an end.
func appendElement(b []byte, m element) []byte {
	b = appendNest(b, unix.NFTA_LIST_ELEM, func(b []byte) []byte {
		b = appendData(b, unix.NFTA_SET_ELEM_KEY, m.key.data)
		if m.timeout != 0 {
			b = appendNumber64(b, unix.NFTA_SET_ELEM_TIMEOUT, uint64(m.timeout/time.Millisecond))
		}
		switch {
		case m.verdict != nil:
			b = appendNest(b, unix.NFTA_SET_ELEM_DATA, m.verdict.append)
		case m.value != nil:
			b = appendData(b, unix.NFTA_SET_ELEM_DATA, m.value.data)
		}
		return b
	})
	if len(m.end) == 0 {
		return b
	}
	return appendNest(b, unix.NFTA_LIST_ELEM, func(b []byte) []byte {
		b = appendNumber32(b, unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		return appendData(b, unix.NFTA_SET_ELEM_KEY, m.end)
	})
}
