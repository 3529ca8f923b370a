package route

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/mark"
)

// Clashes describes the routing rules of others that ask for bits of our mark:
// packets of ours would take their way, or theirs ours.
func Clashes() ([]string, error) {
	h, err := open()
	if err != nil {
		return nil, fmt.Errorf("listing rules: %w", err)
	}
	defer h.Close()
	var clashes []string
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := list(func() ([]netlink.Rule, error) { return h.RuleList(family) })
		if err != nil {
			if isAbsent(err) {
				continue
			}
			return nil, fmt.Errorf("listing rules: %w", err)
		}
		for _, r := range rules {
			mask := uint32(0xffffffff) // a rule without a mask compares the whole mark
			if r.Mask != nil {
				mask = *r.Mask
			}
			if r.Protocol != Tag && r.Mark != 0 && r.Mark&mask&mark.Mask != 0 {
				clashes = append(clashes, fmt.Sprintf("%d: fwmark %#x/%#x lookup %d", r.Priority, r.Mark, mask, r.Table))
			}
		}
	}
	return clashes, nil
}
