package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Conntrack deletes single flows from the kernel's table of them. It keeps its
// socket open: the kernel makes whoever closes a netfilter socket wait for what
// nf_tables has yet to free.
type Conntrack struct {
	mu   sync.Mutex // guards the field below, and keeps questions and answers in order
	conn *netlink.Conn
}

// OpenConntrack opens the socket, in the network namespace of the calling
// thread. The error is ErrNoConntrack where the kernel cannot delete flows.
func OpenConntrack() (*Conntrack, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening conntrack: %w", err)
	}
	c := &Conntrack{conn: conn}
	nobody := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if err := c.DeleteFlow(nobody, nobody); err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening conntrack: %w", err)
	}
	return c, nil
}

// Close gives the socket back.
func (c *Conntrack) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.Close()
}

// DeleteFlow deletes the entry of the UDP flow that client began towards
// dialled, and no other. There need not be one.
func (c *Conntrack) DeleteFlow(client, dialled netip.AddrPort) error {
	request, err := deletion(client, dialled)
	if err != nil {
		return fmt.Errorf("deleting the flow from %s to %s: %w", client, dialled, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.conn.SetDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = c.conn.Execute(request)
	}
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		err = ErrNoConntrack
	}
	return fmt.Errorf("deleting the flow from %s to %s: %w", client, dialled, err)
}

// deletion is IPCTNL_MSG_CT_DELETE of an original tuple
// (linux/netfilter/nfnetlink_conntrack.h).
func deletion(client, dialled netip.AddrPort) (netlink.Message, error) {
	family, fields, err := endsOf(nl.CTA_TUPLE_ORIG, unix.IPPROTO_UDP, client, dialled)
	return netlink.Message{
		Header: netlink.Header{
			Type:  conntrackDelete,
			Flags: netlink.Request | netlink.Acknowledge,
		},
		Data: append(genericHeader(family), fields...),
	}, err
}

// endsOf is the attribute that tells a flow by its ends, and the family of these.
func endsOf(kind uint16, proto uint8, from, to netip.AddrPort) (family byte, attribute []byte, err error) {
	family, src, dst := byte(unix.AF_INET), uint16(nl.CTA_IP_V4_SRC), uint16(nl.CTA_IP_V4_DST)
	if to.Addr().Is6() {
		family, src, dst = unix.AF_INET6, nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	ae.Nested(kind, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(nl.CTA_TUPLE_IP, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(src, from.Addr().AsSlice())
			ae.Bytes(dst, to.Addr().AsSlice())
			return nil
		})
		ae.Nested(nl.CTA_TUPLE_PROTO, func(ae *netlink.AttributeEncoder) error {
			ae.Uint8(nl.CTA_PROTO_NUM, proto)
			ae.Uint16(nl.CTA_PROTO_SRC_PORT, from.Port())
			ae.Uint16(nl.CTA_PROTO_DST_PORT, to.Port())
			return nil
		})
		return nil
	})
	attribute, err = ae.Encode()
	return family, attribute, err
}
