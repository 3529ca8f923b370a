package device

import (
	"maps"
	"slices"

	"github.com/fairlead/fairlead/gateway/policy"
)

// All gives every device that the kernel's neighbour table has now or had since
// Serve began, one entry for each address, in the order of addresses. It needs no
// Serve.
func (t *Table) All() ([]policy.Device, error) {
	if _, err := t.list(); err != nil {
		return nil, err
	}
	t.mu.RLock()
	known := maps.Clone(t.byAddr)
	t.mu.RUnlock()
	all := make([]policy.Device, 0, len(known))
	for addr, n := range known {
		all = append(all, t.device(addr, n))
	}
	slices.SortFunc(all, func(a, b policy.Device) int { return a.Addr.Compare(b.Addr) })
	return all, nil
}
