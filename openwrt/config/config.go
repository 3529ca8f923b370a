// Package config turns a UCI file into one validated, immutable Config, and
// reports all its mistakes at once.
package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway/outbound"
	"github.com/fairlead/fairlead/gateway/policy"
)

// Config is the whole configuration, each component's own part filled in.
// Nothing downstream validates again, and nothing changes it.
type Config struct {
	File     string
	Enabled  bool     // main.enabled
	Networks []string // main.network: OpenWrt networks served, still by name
	Devices  []string // main.device: Linux interfaces served
	Closed   bool     // main.on_failure is closed
	IPv6     bool
	Router   bool // the router's own traffic too
	Strict   bool // main.reload is strict: a reload ends flows whose verdict changed
	LogLevel slog.Level
	StateDir string
	CacheDir string
	Control  string // path of the control socket
	Replace  bool   // main.dnsmasq is replace
	// LeakMonitor has the daemon watch what leaves by the WAN (main.leak_monitor).
	LeakMonitor bool
	Policy      policy.Config
	DNS         dnsrouter.Config
	Upstreams   []upstream.Config // declared ones; auto is not among them
	Outbounds   []outbound.Config // declared ones; direct and reject are not among them
	Rulesets    []Ruleset         // declared ones; what rules use of them is in Policy, compiled
	Warnings    Mistakes          // what check warns of, in the order of the file
	// Blocks holds, by policy.Client, what of a client's own encrypted DNS is
	// refused: the first is that of clients that no section matches.
	Blocks []Blocks
	// DoHServers are the addresses of known DoH servers, if any client may not
	// ask them.
	DoHServers []netip.Prefix
	// ClientNetworks holds, by index of Policy.Clients, the UCI networks of a
	// client section, which whoever knows networks adds to its Devices.
	ClientNetworks [][]string
}

// Ruleset is one ruleset section: where a list of names and addresses is kept
// or fetched from. One of Path and URL is set.
type Ruleset struct {
	Name     string
	Path     string
	URL      string
	Outbound string        // how it is fetched
	Interval time.Duration // how often it is fetched
	Category string        // of a file that holds several; empty: all of it
}
