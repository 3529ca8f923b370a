package route

import (
	"fmt"

	"github.com/fairlead/fairlead/nft/mark"
)

// Clashes describes the routing rules of others that ask for bits of our mark:
// packets of ours would take their way, or theirs ours.
func Clashes() ([]string, error) {
	k, err := open()
	if err != nil {
		return nil, fmt.Errorf("listing rules: %w", err)
	}
	defer k.Close()
	var clashes []string
	for _, f := range families() {
		rules, err := f.listRules(k)
		if err != nil {
			if isAbsent(err) {
				continue
			}
			return nil, fmt.Errorf("listing rules: %w", err)
		}
		for _, r := range rules {
			mask := uint32(0xffffffff) // a rule without a mask compares the whole mark
			if r.mask != 0 {
				mask = r.mask
			}
			if r.tag != Tag && r.mark != 0 && r.mark&mask&mark.Mask != 0 {
				clashes = append(clashes, fmt.Sprintf("%d: fwmark %#x/%#x lookup %d", r.priority, r.mark, mask, r.table))
			}
		}
	}
	return clashes, nil
}
