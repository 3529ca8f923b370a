package device

import (
	"maps"
	"sort"

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
	sort.Slice(all, func(i, k int) bool { return all[i].Addr.Less(all[k].Addr) })
	return all, nil
}
