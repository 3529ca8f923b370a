package nft

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// `make test-arch` has a little-endian and a big-endian build write this file,
// and compares: the kernel of each must understand the same.
var messages = flag.String("messages", "", "write all that the golden rulesets tell the kernel to `FILE`, the same on every processor")

func TestEveryMessageConsistsOfWholeAttributes(t *testing.T) {
	var all bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(configs())) {
		b := newBatch(TableName)
		build(t, configs()[name]).create(b)
		if b.err != nil {
			t.Fatal(b.err)
		}
		reader := &reader{out: &all, hostSets: map[string]bool{}}
		for i, m := range b.messages {
			fmt.Fprintf(&all, "%s: message %d of type %#x with flags %s, % x\n", name, i, uint16(m.Header.Type), m.Header.Flags, m.Data[:4])
			if err := reader.message(m); err != nil {
				t.Fatalf("%s: %s: %v", name, b.doing[i], err)
			}
		}
	}
	if *messages != "" {
		if err := os.WriteFile(*messages, all.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// reader writes messages as the kernel reads them: numbers that it takes for the
// host's as numbers, all else byte by byte. It knows of each register and set
// which of the two is in it, from what is loaded into it.
type reader struct {
	out      *bytes.Buffer
	hostSets map[string]bool // by name, or by id for anonymous ones
	host     bool            // the register, in the rule that is being read
}

// attribute is a netlink attribute; one that holds others has no data.
type attribute struct {
	kind   uint16
	data   []byte
	inner  []attribute
	nested bool
}

// nested reads a list of them (struct nlattr of linux/netlink.h).
func nested(b []byte) (list []attribute, err error) {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlAttr {
			return nil, fmt.Errorf("%d bytes are left over", len(b))
		}
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.SizeofNlAttr || size > len(b) {
			return nil, fmt.Errorf("attribute %d has %d bytes of %d", kind, size, len(b))
		}
		a := attribute{kind: kind &^ unix.NLA_F_NESTED, data: b[unix.SizeofNlAttr:size], nested: kind&unix.NLA_F_NESTED != 0}
		if a.nested {
			if a.inner, err = nested(a.data); err != nil {
				return nil, fmt.Errorf("in attribute %d: %w", a.kind, err)
			}
		}
		list = append(list, a)
		b = b[min((size+3)&^3, len(b)):]
	}
	return list, nil
}

// of is the data of the first attribute of a kind, nil if there is none.
func of(list []attribute, kind uint16) *attribute {
	for i := range list {
		if list[i].kind == kind {
			return &list[i]
		}
	}
	return &attribute{}
}

func (a *attribute) number() uint32 {
	if len(a.data) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(a.data)
}

func (r *reader) message(m netlink.Message) error {
	list, err := nested(m.Data[4:])
	if err != nil {
		return err
	}
	switch m.Header.Type & 0xff {
	case unix.NFT_MSG_NEWSET:
		key := of(list, unix.NFTA_SET_KEY_TYPE).number()
		r.hostSets[setKey(of(list, unix.NFTA_SET_NAME), of(list, unix.NFTA_SET_ID))] = key == markType().id || key == addrType().id
		order := of(list, unix.NFTA_SET_USERDATA) // of libnftnl: a kind, a length, a number of the host's
		fmt.Fprintf(r.out, "  keys of order %d\n", binary.NativeEndian.Uint32(order.data[2:]))
		order.data = nil
		r.write(list, 1)
	case unix.NFT_MSG_NEWSETELEM:
		r.host = r.hostSets[setKey(of(list, unix.NFTA_SET_ELEM_LIST_SET), of(list, unix.NFTA_SET_ELEM_LIST_SET_ID))]
		r.write(list, 1)
	case unix.NFT_MSG_NEWRULE:
		for _, x := range of(list, unix.NFTA_RULE_EXPRESSIONS).inner {
			if err := r.expression(x.inner); err != nil {
				return err
			}
		}
		of(list, unix.NFTA_RULE_EXPRESSIONS).inner = nil
		r.write(list, 1)
	default:
		r.write(list, 1)
	}
	return nil
}

// setKey tells sets apart: anonymous ones have the same name, and a number.
func setKey(name, id *attribute) string {
	if bytes.HasPrefix(name.data, []byte("__")) {
		return fmt.Sprint(id.number())
	}
	return string(name.data)
}

// expression writes one step of a rule, and keeps in mind what it loads. The
// order of what each loads is that of the kernel's net/netfilter/nft_*.c.
func (r *reader) expression(list []attribute) error {
	name := strings.TrimRight(string(of(list, unix.NFTA_EXPR_NAME).data), "\x00")
	data := of(list, unix.NFTA_EXPR_DATA).inner
	switch name {
	case "meta":
		key := of(data, unix.NFTA_META_KEY).number()
		r.host = key == unix.NFT_META_MARK || key == unix.NFT_META_IIFTYPE
	case "ct":
		key := of(data, unix.NFTA_CT_KEY).number()
		r.host = key == unix.NFT_CT_MARK || key == unix.NFT_CT_STATE || key == unix.NFT_CT_STATUS
	case "fib":
		r.host = of(data, unix.NFTA_FIB_RESULT).number() == unix.NFT_FIB_RESULT_ADDRTYPE
	case "payload", "immediate", "socket":
		r.host = false
	case "bitwise", "cmp", "lookup", "dynset", "tproxy", "nat", "masq", "reject", "counter", "limit", "log", "notrack":
	default:
		return fmt.Errorf("the test does not know the byte order of expression %q", name)
	}
	fmt.Fprintf(r.out, "  %s\n", name)
	r.write(data, 2)
	return nil
}

// write writes attributes, what registers are compared with as what it is.
// Numbers of nf_tables itself are big endian everywhere.
func (r *reader) write(list []attribute, depth int) {
	indent := strings.Repeat("  ", depth)
	for _, a := range list {
		switch {
		case len(a.inner) == 1 && a.inner[0].kind == unix.NFTA_DATA_VALUE && !a.inner[0].nested:
			fmt.Fprintf(r.out, "%s%d value %s\n", indent, a.kind, r.value(a.inner[0].data))
		case len(a.inner) == 1 && a.inner[0].kind == unix.NFTA_DATA_VERDICT && a.inner[0].nested:
			fmt.Fprintf(r.out, "%s%d verdict\n", indent, a.kind)
			r.write(a.inner[0].inner, depth+1)
		case a.nested:
			fmt.Fprintf(r.out, "%s%d\n", indent, a.kind)
			r.write(a.inner, depth+1)
		default:
			fmt.Fprintf(r.out, "%s%d % x\n", indent, a.kind, a.data)
		}
	}
}

func (r *reader) value(data []byte) string {
	switch {
	case r.host && len(data) == 4:
		return fmt.Sprintf("of the host: %#08x", binary.NativeEndian.Uint32(data))
	case r.host && len(data) == 2:
		return fmt.Sprintf("of the host: %#04x", binary.NativeEndian.Uint16(data))
	}
	return fmt.Sprintf("% x", data)
}
