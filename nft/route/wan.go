package route

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// DefaultDevices lists the interfaces by which the main table leads to the
// internet: those of the best default route of each family, sorted. There need
// not be any.
func DefaultDevices() ([]string, error) {
	k, err := open()
	if err != nil {
		return nil, fmt.Errorf("listing default routes: %w", err)
	}
	defer k.Close()

	links, err := k.links()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	known := names(links)
	var devices []string
	for _, f := range families() {
		routes, err := f.entries(k)
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
func best(routes []entry) (indices []int) {
	lowest := -1
	for _, r := range routes {
		if r.table != unix.RT_TABLE_MAIN || r.cloned || r.to.Bits() > 0 || lowest >= 0 && r.metric > lowest {
			continue
		}
		if r.metric != lowest {
			lowest, indices = r.metric, nil
		}
		indices = append(indices, r.link)
		indices = append(indices, r.hops...)
	}
	return indices
}
