package main

import (
	"fmt"

	"github.com/google/nftables"
)

// input is what fw4's chain input says, rule by rule.
func (r *router) input() (lines []string) {
	r.t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(r.Router.Fd()))
	ok(r.t, err)
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"}
	rules, err := conn.GetRules(table, &nftables.Chain{Name: "input", Table: table})
	ok(r.t, err)
	for _, rule := range rules {
		line := "input:"
		for _, e := range rule.Exprs {
			line += fmt.Sprintf(" %+v", e)
		}
		lines = append(lines, line)
	}
	return lines
}
