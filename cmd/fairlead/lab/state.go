package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RouterState is everything in the router's kernel that a gateway could have
// changed and must restore, one thing on a line: nftables as the kernel tells
// it, byte by byte, rules, routes and the sysctls of the network.
func (w *World) RouterState() (string, error) {
	var lines []string
	err := w.Router.Do(func() error {
		for _, read := range []func() ([]string, error){tables, rules, routes, sysctls} {
			more, err := read()
			if err != nil {
				return err
			}
			lines = append(lines, more...)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the router's state: %w", err)
	}
	return strings.Join(lines, "\n"), nil
}

// tables are the dumps of all tables, chains, rules and sets, without the
// header, which has the number of the last transaction.
func tables() (lines []string, err error) {
	const header = 4 // struct nfgenmsg
	for _, kind := range []struct {
		name    string
		request int
	}{{"table", unix.NFT_MSG_GETTABLE}, {"chain", unix.NFT_MSG_GETCHAIN}, {"rule", unix.NFT_MSG_GETRULE}, {"set", unix.NFT_MSG_GETSET}} {
		request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind.request, unix.NLM_F_DUMP)
		request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_UNSPEC, Version: nl.NFNETLINK_V0})
		objects, err := request.Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil {
			return nil, fmt.Errorf("dumping every %s: %w", kind.name, err)
		}
		for _, o := range objects {
			lines = append(lines, fmt.Sprintf("%s %x", kind.name, o[header:]))
		}
	}
	return lines, nil
}

func rules() (lines []string, err error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all, err := netlink.RuleList(family)
		if err != nil {
			return nil, fmt.Errorf("listing rules: %w", err)
		}
		for _, r := range all {
			lines = append(lines, fmt.Sprintf("rule %d: %s mark %#x", r.Priority, r, r.Mark))
		}
	}
	return lines, nil
}

// routes are those that somebody wrote: the kernel's clones of them come and go.
func routes() (lines []string, err error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		everywhere := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		all, err := netlink.RouteListFiltered(family, everywhere, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("listing routes: %w", err)
		}
		for _, r := range all {
			lines = append(lines, fmt.Sprintf("route of type %d: %s", r.Type, r))
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// sysctls are all settings of the network that can be read, but for counters.
func sysctls() (lines []string, err error) {
	const root = "/proc/sys/net"
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_count") {
			return err
		}
		if value, err := os.ReadFile(path); err == nil { // some are for writing only
			lines = append(lines, path+" = "+strings.TrimSpace(string(value)))
		}
		return nil
	})
	return lines, err
}

// Carried lists the connections that the router's kernel tracks with a mark
// among the bits of the mask.
func (w *World) Carried(mark, mask uint32) (flows []string, err error) {
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		all, err := w.Router.Handle().ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			return nil, fmt.Errorf("listing tracked connections: %w", err)
		}
		for _, f := range all {
			if f.Mark&mask == mark {
				flows = append(flows, f.String())
			}
		}
	}
	return flows, nil
}
