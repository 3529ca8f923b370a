package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/mark"
)

// ErrNoConntrack is returned where the kernel cannot delete conntrack entries.
// Without it the flows that the daemon carried stay refused or unmasqueraded
// until their entries expire.
var ErrNoConntrack = errors.New("the kernel lacks nf_conntrack_netlink (OpenWrt package kmod-nf-conntrack-netlink)")

// DeleteCarried deletes the conntrack entries of the flows that the daemon
// carried, and says how many. They have no source NAT: once the table is gone,
// their packets would leave with the client's own address.
func DeleteCarried() (int, error) {
	k, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("deleting carried flows: %w", err)
	}
	defer k.Close()
	var deleted int
	var errs []error
	for _, f := range families() {
		n, err := f.deleteCarried(k)
		deleted += n
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return deleted, fmt.Errorf("deleting carried flows: %w", err)
	}
	return deleted, nil
}

// deleteCarried repeats what was cut short by a change meanwhile: the table of a
// busy router always changes.
func (f family) deleteCarried(k kernel) (deleted int, err error) {
	for deadline := time.Now().Add(patience); ; {
		flows, err := f.carried(k)
		n, errDelete := k.deleteFlows(flows)
		deleted += n
		switch {
		case errors.Is(err, errInterrupted) && time.Now().Before(deadline):
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
			err = ErrNoConntrack
		}
		return deleted, errors.Join(err, errDelete)
	}
}

// carried are the entries that have our mark; other bits are not ours to judge.
// The kernel chooses by the mark. It is looked at again, since who is chosen here
// is deleted.
func (f family) carried(k kernel) ([][]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	ae.Uint32(nl.CTA_MARK, mark.Carried)
	ae.Uint32(ctaMarkMask, mark.Mask)
	filter, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	all, err := k.ask(conntrackGet, netlink.Dump, append(genericHeader(f.number), filter...))
	var ours [][]byte
	for _, flow := range all {
		if m, ok := markOf(flow); ok && m&mark.Mask == mark.Carried {
			ours = append(ours, flow)
		}
	}
	return ours, err
}

// Of linux/netfilter/nfnetlink_conntrack.h.
const (
	conntrackGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_GET
	conntrackDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_DELETE
	ctaMarkMask     = 21
)

// genericHeader is struct nfgenmsg of linux/netfilter/nfnetlink.h.
func genericHeader(family byte) []byte { return []byte{family, unix.NFNETLINK_V0, 0, 0} }

// markOf reads the mark of a flow that the kernel told of.
func markOf(flow []byte) (m uint32, ok bool) {
	if len(flow) < len(genericHeader(0)) {
		return 0, false
	}
	attrs, err := netlink.NewAttributeDecoder(flow[len(genericHeader(0)):])
	if err != nil {
		return 0, false
	}
	attrs.ByteOrder = binary.BigEndian
	for attrs.Next() {
		if attrs.Type() == nl.CTA_MARK {
			m, ok = attrs.Uint32(), true
		}
	}
	return m, ok && attrs.Err() == nil
}

// deleteFlows names flows to the kernel as it told of them.
func (k kernel) deleteFlows(flows [][]byte) (deleted int, err error) {
	var errs []error
	for _, flow := range flows {
		switch _, err := k.ask(conntrackDelete, netlink.Acknowledge, flow); {
		case err == nil:
			deleted++
		case !errors.Is(err, unix.ENOENT): // it ended by itself
			errs = append(errs, err)
		}
	}
	return deleted, errors.Join(errs...)
}
