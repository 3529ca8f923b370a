package route

import (
	"errors"
	"fmt"
)

// Ours describes the rules and routes of ours that the kernel has, one to a line.
func Ours() ([]string, error) {
	k, err := open()
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	defer k.Close()
	var lines []string
	var errs []error
	for _, f := range families() {
		some, err := f.ours(k)
		if err != nil && !isAbsent(err) {
			errs = append(errs, fmt.Errorf("listing routes of %s: %w", f.name, err))
		}
		lines = append(lines, some...)
	}
	return lines, errors.Join(errs...)
}

func (f family) ours(k kernel) (lines []string, err error) {
	rules, err := f.listRules(k)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if r.isOurs() {
			lines = append(lines, fmt.Sprintf("%s rule %d: mark %#x of %#x leads to table %d", f.name, r.priority, r.mark, r.mask, r.table))
		}
	}
	routes, err := f.ourEntries(k)
	for _, e := range routes {
		lines = append(lines, f.name+" "+e.String())
	}
	return lines, err
}
