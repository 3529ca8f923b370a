package route

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultDevices lists the interfaces by which the main table leads to the
// internet: those of the best default route of each family, sorted. There need
// not be any.
func DefaultDevices() ([]string, error) {
	h, err := open()
	if err != nil {
		return nil, fmt.Errorf("listing default routes: %w", err)
	}
	defer h.Close()

	links, err := list(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	known := names(links)
	var devices []string
	for _, f := range families() {
		routes, err := list(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(f.number, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		})
		if err != nil && !isAbsent(err) {
			return nil, fmt.Errorf("listing the default routes of %s: %w", f.name, err)
		}
		for _, index := range best(routes) {
			if name, ok := known[index]; ok {
				devices = append(devices, name)
			}
		}
	}
	slices.Sort(devices)
	return slices.Compact(devices), nil
}

// best are the interfaces of the default routes with the lowest metric.
func best(routes []netlink.Route) (indices []int) {
	lowest := -1
	for _, r := range routes {
		if bits := 0; r.Dst != nil {
			if bits, _ = r.Dst.Mask.Size(); bits > 0 {
				continue
			}
		}
		if lowest >= 0 && r.Priority > lowest {
			continue
		}
		if r.Priority != lowest {
			lowest, indices = r.Priority, nil
		}
		indices = append(indices, r.LinkIndex)
		for _, hop := range r.MultiPath {
			indices = append(indices, hop.LinkIndex)
		}
	}
	return indices
}
