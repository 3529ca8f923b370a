package route

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/mark"
)

// Ours describes the rules and routes of ours that the kernel has, one to a line.
func Ours() ([]string, error) {
	h, err := open()
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	defer h.Close()
	var lines []string
	var errs []error
	for _, f := range families() {
		some, err := f.ours(h)
		if err != nil && !isAbsent(err) {
			errs = append(errs, fmt.Errorf("listing routes of %s: %w", f.name, err))
		}
		lines = append(lines, some...)
	}
	return lines, errors.Join(errs...)
}

func (f family) ours(h *netlink.Handle) (lines []string, err error) {
	rules, err := list(func() ([]netlink.Rule, error) { return h.RuleList(f.number) })
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if r.Protocol == Tag && r.Mask != nil && *r.Mask == mark.Mask {
			lines = append(lines, fmt.Sprintf("%s rule %d: mark %#x of %#x leads to table %d", f.name, r.Priority, r.Mark, *r.Mask, r.Table))
		}
	}
	ours := &netlink.Route{Protocol: Tag, Table: unix.RT_TABLE_UNSPEC}
	routes, err := list(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(f.number, ours, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	for _, r := range routes {
		lines = append(lines, f.name+" "+f.describe(r))
	}
	return lines, err
}
