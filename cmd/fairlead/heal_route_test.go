package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/route"
)

// ownRoutes are fairlead's rules and routes in the router, in order.
func (h *home) ownRoutes(t *testing.T) (lines []string) {
	t.Helper()
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := h.Router.Handle().RuleList(family)
		ok(t, err)
		for _, r := range rules {
			if r.Protocol == route.Tag {
				lines = append(lines, r.String())
			}
		}
		for _, r := range h.routesOf(t, family) {
			lines = append(lines, fmt.Sprintf("type %d: %s", r.Type, r))
		}
	}
	slices.Sort(lines)
	return lines
}

// routesOf are fairlead's routes of a family.
func (h *home) routesOf(t *testing.T, family int) []netlink.Route {
	t.Helper()
	ours := &netlink.Route{Protocol: route.Tag, Table: unix.RT_TABLE_UNSPEC}
	routes, err := h.Router.Handle().RouteListFiltered(family, ours, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	ok(t, err)
	return routes
}

func TestRulesAndRoutesThatOthersDeleteAreBackWithinASecond(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	before := h.ownRoutes(t)
	same := func() bool { return slices.Equal(h.ownRoutes(t), before) }
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		h.heals(t, fmt.Sprintf("the deletion of a rule of family %d", family), func() {
			rules, err := h.Router.Handle().RuleList(family)
			ok(t, err)
			for _, r := range rules {
				if r.Priority == route.Priority {
					ok(t, h.Router.Handle().RuleDel(&r))
				}
			}
		}, same)
		for _, r := range h.routesOf(t, family) { // the private one, and the unreachable one
			h.heals(t, "the deletion of "+r.String(), func() { ok(t, h.Router.Handle().RouteDel(&r)) }, same)
		}
	}
	me, err := os.ReadFile("/proc/self/comm")
	ok(t, err)
	line := regexp.MustCompile(fmt.Sprintf(`msg="put rules and routes back" removed_by="%s \(process %d\)" count=(\d)`, regexp.QuoteMeta(string(bytes.TrimSpace(me))), os.Getpid()))
	// Two are put back as one if the next is deleted while the last is; the first
	// may have come before the daemon listened.
	until(t, soon, "five put back after this process, in the log", func() bool {
		n := 0
		for _, counted := range line.FindAllStringSubmatch(h.daemon.Log(), -1) {
			count, err := strconv.Atoi(counted[1])
			ok(t, err)
			n += count
		}
		return n >= 5
	})
}
