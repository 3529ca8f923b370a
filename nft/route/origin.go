package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Origin gives the source that the first packet of a flow had, before anybody
// translated it, of a flow whose packets now go from src to dst. ok is false if
// the kernel does not know the flow.
func (c *Conntrack) Origin(proto uint8, src, dst netip.AddrPort) (from netip.AddrPort, ok bool, err error) {
	request, err := byReply(proto, src, dst)
	if err != nil {
		return from, false, fmt.Errorf("looking for the flow from %s to %s: %w", src, dst, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.conn.SetDeadline(time.Now().Add(patience))
	var answers []netlink.Message
	if err == nil {
		answers, err = c.conn.Execute(request)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return from, false, nil
	case err != nil:
		return from, false, fmt.Errorf("looking for the flow from %s to %s: %w", src, dst, err)
	case len(answers) == 0:
		return from, false, nil
	}
	from, ok = originalSource(answers[0].Data)
	return from, ok, nil
}

// byReply is IPCTNL_MSG_CT_GET of a reply tuple: answers come from dst to src. The
// kernel says of its one answer that more will follow (ctnetlink_fill_info), so an
// acknowledgement is asked for, which ends them.
func byReply(proto uint8, src, dst netip.AddrPort) (netlink.Message, error) {
	family, fields, err := endsOf(nl.CTA_TUPLE_REPLY, proto, dst, src)
	return netlink.Message{
		Header: netlink.Header{Type: conntrackGet, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(genericHeader(family), fields...),
	}, err
}

// originalSource reads the source of the original tuple of an entry.
func originalSource(b []byte) (from netip.AddrPort, ok bool) {
	if len(b) < len(genericHeader(0)) {
		return from, false
	}
	ad, err := netlink.NewAttributeDecoder(b[len(genericHeader(0)):])
	if err != nil {
		return from, false
	}
	ad.ByteOrder = binary.BigEndian
	var addr netip.Addr
	var port uint16
	each(func(ad *netlink.AttributeDecoder) {
		if ad.Type() != nl.CTA_TUPLE_ORIG {
			return
		}
		ad.Nested(each(func(ad *netlink.AttributeDecoder) {
			ad.Nested(each(func(ad *netlink.AttributeDecoder) { // addresses, or ports
				switch {
				case len(ad.Bytes()) == 2 && ad.Type() == nl.CTA_PROTO_SRC_PORT:
					port = ad.Uint16()
				case len(ad.Bytes()) > 2 && (ad.Type() == nl.CTA_IP_V4_SRC || ad.Type() == nl.CTA_IP_V6_SRC):
					addr, _ = netip.AddrFromSlice(ad.Bytes())
				}
			}))
		}))
	})(ad)
	return netip.AddrPortFrom(addr, port), ad.Err() == nil && addr.IsValid()
}

// each reads attributes one after the other.
func each(read func(*netlink.AttributeDecoder)) func(*netlink.AttributeDecoder) error {
	return func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			read(ad)
		}
		return nil
	}
}
