// Package nft keeps the nftables table that diverts the LAN's flows: Build makes
// the desired ruleset of a Config, and Table has the kernel hold it, with the
// sets and maps that change while it runs.
package nft

import (
	"net/netip"

	"github.com/fairlead/fairlead/gateway/policy"
)

// TableName is the name of the one table, of family inet, that fairlead owns.
const TableName = "fairlead"

// Ports of the transparent listeners, on 127.0.0.1 and ::1 only.
const (
	GatewayPort = 7893 // diverted flows
	DNSPort     = 7853 // diverted questions
)

// Config is the desired table as a value: Build turns it into a ruleset, the
// same value always into the same one.
type Config struct {
	LAN         []string       // interfaces served; they need not exist yet
	Home        []netip.Prefix // the LAN's own and the router's connected prefixes, never diverted (except port 53)
	Fake4       netip.Prefix   // the fakeip ranges
	Fake6       netip.Prefix
	Closed      bool           // on_failure closed
	RefuseIPv6  bool           // ipv6 '0': IPv6 of diverted clients, except DNS, is refused
	DoHServers  []netip.Prefix // known DNS over HTTPS servers, for groups with RefuseDoH
	Interfaces  []Interface
	Groups      []Group   // group 0 is that of clients no section matches
	Members     []Members // in order: the first that matches decides
	Zones       []Zone    // of the machine's firewall, as far as it refuses something
	Router      bool      // the router's own flows are diverted, too, as those of a client of RouterGroup; then no interface may have the number 15
	RouterGroup int
}

// Group is what the clients of one section have in common: one chain, one set of addresses for each way.
type Group struct {
	Mode policy.Mode // Off: accepted untouched, fake addresses refused
	Rest Rest        // what becomes of a flow whose way no map knows

	RefuseDoT bool // block_dot: port 853 is refused
	RefuseDoH bool // block_doh: port 443 of Config.DoHServers is refused

	// Addrs are the ways of addresses that no name was asked for. They are in
	// order, and do not overlap.
	Addrs []AddrWay
}

// Rest is the end of a group's chain.
type Rest uint8

// The ends of a group's chain.
const (
	RestRelay  Rest = iota // diverted: the daemon sniffs and decides
	RestDirect             // no name and no port can change it: plain forwarding
)

// Members says who belongs to a group, by any of the lists. The lists of MACs
// and Prefixes can be changed at run time (a lease that appears).
type Members struct {
	Group    int
	MACs     []policy.MAC
	Prefixes []netip.Prefix
	Devices  []string
}
