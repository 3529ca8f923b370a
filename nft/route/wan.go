package route

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// DefaultDevices lists the interfaces by which the main table leads to the
// internet: those of the best default route of each family, sorted. There need
// not be any.
func DefaultDevices() ([]string, error) { return defaultDevices(best) }

// AllDefaultDevices lists the interfaces of all default routes in the main table:
// also of those that wait for a better one to go, or that others route by (mwan3).
func AllDefaultDevices() ([]string, error) { return defaultDevices(every) }

func defaultDevices(choose func([]entry) []int) ([]string, error) {
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
		for _, index := range choose(routes) {
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
		if !r.isDefault() || lowest >= 0 && r.metric > lowest {
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

// every are the interfaces of all default routes.
func every(routes []entry) (indices []int) {
	for _, r := range routes {
		if r.isDefault() {
			indices = append(indices, r.link)
			indices = append(indices, r.hops...)
		}
	}
	return indices
}

func (e entry) isDefault() bool {
	return e.table == unix.RT_TABLE_MAIN && !e.cloned && e.to.Bits() <= 0
}
