package route

import (
	"errors"
	"fmt"

	"github.com/fairlead/fairlead/nft/mark"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoConntrack is returned where the kernel cannot delete conntrack entries.
// Without it the flows that the daemon carried stay refused or unmasqueraded
// until their entries expire.
var ErrNoConntrack = errors.New("the kernel lacks nf_conntrack_netlink (OpenWrt package kmod-nf-conntrack-netlink)")

// DeleteCarried deletes the conntrack entries of the flows that the daemon
// carried, and says how many. They have no source NAT: once the table is gone,
// their packets would leave with the client's own address.
func DeleteCarried() (int, error) {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("deleting carried flows: opening a netlink socket: %w", err)
	}
	defer h.Close()
	if err := h.SetSocketTimeout(patience); err != nil {
		return 0, fmt.Errorf("deleting carried flows: bounding a netlink socket: %w", err)
	}
	var deleted int
	var errs []error
	for _, f := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		n, err := deleteCarried(h, f)
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
func deleteCarried(h *netlink.Handle, f netlink.InetFamily) (int, error) {
	deleted := 0
	_, err := list(func() ([]struct{}, error) {
		n, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, f, carried{})
		deleted += int(n)
		return nil, err
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		err = ErrNoConntrack
	}
	return deleted, err
}

// carried chooses the entries that have our mark; other bits are not ours to judge.
type carried struct{}

func (carried) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	return f.Mark&mark.Mask == mark.Carried
}
