package route

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/mark"
)

// rule leads packets to a table by their mark.
type rule struct {
	priority   int
	mark, mask uint32 // mask 0: the kernel tells of none
	table      int
	from       string // interface that they come from; empty: any
	tag        byte   // its protocol
}

func (r rule) isOurs() bool { return r.tag == Tag && r.mask == mark.Mask }

// sizeofRuleHeader is that of struct fib_rule_hdr of linux/fib_rules.h.
const sizeofRuleHeader = 12

func (f family) listRules(k kernel) ([]rule, error) {
	return dump(k, unix.RTM_GETRULE, f.number, sizeofRuleHeader, parseRule)
}

func parseRule(header []byte, attrs *netlink.AttributeDecoder) (rule, error) {
	r := rule{table: int(header[4])}
	for attrs.Next() {
		switch attrs.Type() {
		case unix.FRA_PRIORITY:
			r.priority = int(attrs.Uint32())
		case unix.FRA_FWMARK:
			r.mark = attrs.Uint32()
		case unix.FRA_FWMASK:
			r.mask = attrs.Uint32()
		case unix.FRA_TABLE:
			r.table = int(attrs.Uint32())
		case unix.FRA_IIFNAME:
			r.from = attrs.String()
		case unix.FRA_PROTOCOL:
			r.tag = attrs.Uint8()
		}
	}
	return r, nil
}

func (f family) addRule(k kernel, r rule) error {
	return f.changeRule(k, unix.RTM_NEWRULE, netlink.Create|netlink.Excl, r)
}

func (f family) deleteRule(k kernel, r rule) error {
	return f.changeRule(k, unix.RTM_DELRULE, 0, r)
}

func (f family) changeRule(k kernel, kind netlink.HeaderType, flags netlink.HeaderFlags, r rule) error {
	header := make([]byte, sizeofRuleHeader)
	header[0], header[7] = f.number, unix.FR_ACT_TO_TBL
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.FRA_PRIORITY, uint32(r.priority))
	ae.Uint32(unix.FRA_FWMARK, r.mark)
	ae.Uint32(unix.FRA_FWMASK, r.mask)
	ae.Uint32(unix.FRA_TABLE, uint32(r.table))
	ae.Uint8(unix.FRA_PROTOCOL, r.tag)
	if r.from != "" {
		ae.String(unix.FRA_IIFNAME, r.from)
	}
	attrs, err := ae.Encode()
	if err == nil {
		_, err = k.ask(kind, flags|netlink.Acknowledge, append(header, attrs...))
	}
	return err
}
