// Package doctor looks for what on this machine will keep the gateway from
// working, or from working for everybody, and says what to do about it.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Severity says how bad a finding is.
type Severity string

// The severities. Only an Error makes `fairlead doctor` exit with 1.
const (
	Error   Severity = "error"   // it will break
	Warning Severity = "warning" // something is lost
	Note    Severity = "note"    // known, and taken care of
)

// Finding is one thing that was found. Codes never change their meaning.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Advice   string   `json:"advice"`
}

// Case is the machine and the configuration to be looked at.
type Case struct {
	Devices    []string  // LAN interfaces served
	Unserved   []string  // interfaces of client sections that are none of these
	Interfaces []string  // devices of interface outbounds
	Firewall   []string  // what of the machine's firewall does not hold for flows that are carried
	Running    bool      // a gateway runs with this configuration
	Built      time.Time // when this program was made; zero: unknown
	Kernel     Kernel
	Announced  func() []netip.AddrPort   // by the WAN: DNS servers for names that leave directly; nil: others are asked
	Services   func() ([]Service, error) // of OpenWrt; nil: this is none
	Root       string                    // of the file system, empty: /
}

// Kernel is what is asked of netlink. Every function may fail; then nothing is
// said about its matter.
type Kernel struct {
	Probe           func() error // joined errors, one for each missing feature
	Rivals          func() (tables []Rival, err error)
	Clashes         func() ([]string, error)
	HardwareOffload func() ([]string, error)
	Connected       func(devices []string) (map[string][]netip.Prefix, error)
	Exists          func(device string) bool
	Uplinks         func() ([]string, error) // interfaces of the default routes
	Conntrack       func() error             // whether the kernel can delete single flows
}

// Rival is a table of another program that diverts what we divert.
type Rival struct {
	Table       string
	DNS, TProxy bool
}

// Examine looks at everything and gives what it found, the worst first.
func Examine(c Case) []Finding {
	var all []Finding
	for _, look := range []func(Case) []Finding{
		features, conntrack, forwarding, bridges, validMark, reversePath,
		rivals, clashes, offload, devices, unserved, resolver, announced, clock, unseen,
		services, dnsmasqPort,
	} {
		all = append(all, look(c)...)
	}
	sort.SliceStable(all, func(i, k int) bool { return rank(all[i].Severity) < rank(all[k].Severity) })
	return all
}

func rank(s Severity) int { return slices.Index([]Severity{Error, Warning, Note}, s) }

// Broken says whether something will not work.
func Broken(all []Finding) bool {
	return slices.ContainsFunc(all, func(f Finding) bool { return f.Severity == Error })
}

func one(code string, s Severity, what, advice string) []Finding {
	return []Finding{{code, s, what, advice}}
}

// features are those of nf_tables that the table is made of.
func features(c Case) []Finding {
	err := c.Kernel.Probe()
	if err == nil {
		return nil
	}
	var all []Finding
	for _, line := range strings.Split(err.Error(), "\n") {
		all = append(all, one("kernel-feature", Error, line, "install the package that the line names, or run as root if it says so")...)
	}
	return all
}

func conntrack(c Case) []Finding {
	switch err := c.Kernel.Conntrack(); {
	case errors.Is(err, fs.ErrPermission):
		return nil // features says what that takes
	case err != nil:
		return one("no-conntrack-netlink", Warning, err.Error(),
			"install kmod-nf-conntrack-netlink: without it, direct UDP flows that had to be sniffed stay with fairlead, and so do relayed flows' entries after a stop")
	}
	if _, err := os.Stat(c.path("/proc/net/nf_conntrack")); err == nil || c.sysctl("net/netfilter/nf_conntrack_max") != "" {
		return nil
	}
	return one("no-conntrack", Error, "the kernel tracks no connections", "install kmod-nf-conntrack and kmod-nf-conntrack-netlink")
}

func forwarding(c Case) []Finding {
	var all []Finding
	if c.sysctl("net/ipv4/ip_forward") == "0" {
		all = append(all, one("no-forwarding", Error, "this machine forwards no IPv4 packets, so it is no router", "set net.ipv4.ip_forward=1")...)
	}
	if c.sysctl("net/ipv6/conf/all/forwarding") == "0" {
		all = append(all, one("no-forwarding6", Note, "this machine forwards no IPv6 packets", "set net.ipv6.conf.all.forwarding=1 if the LAN has IPv6")...)
	}
	return all
}

// bridges: with bridge netfilter on, a bridged frame loses the socket that
// tproxy gave it.
func bridges(c Case) []Finding {
	var all []Finding
	for _, key := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		if c.sysctl("net/bridge/"+key) != "1" {
			continue
		}
		if c.Running {
			all = append(all, one("bridge-netfilter", Error,
				"net.bridge."+key+" is 1 although fairlead set it to 0: relayed flows time out and DNS goes past fairlead",
				"find who sets it (Docker does) and set it to 0, or restart fairlead")...)
		} else {
			all = append(all, one("bridge-netfilter", Note, "net.bridge."+key+" is 1", "nothing to do: fairlead sets it to 0 while it runs")...)
		}
	}
	return all
}

func validMark(c Case) []Finding {
	if c.sysctl("net/ipv4/conf/all/src_valid_mark") != "1" {
		return nil
	}
	return one("src-valid-mark", Note, "net.ipv4.conf.all.src_valid_mark is 1 (Tailscale sets it), which makes diverted packets look forged",
		"nothing to do: a routing rule of fairlead's takes care of it")
}

// reversePath: replies from an interface outbound come from an interface that
// the main table would not send to.
func reversePath(c Case) []Finding {
	var all []Finding
	everywhere, _ := strconv.Atoi(c.sysctl("net/ipv4/conf/all/rp_filter"))
	for _, device := range c.Interfaces {
		own, _ := strconv.Atoi(c.sysctl("net/ipv4/conf/" + device + "/rp_filter"))
		if max(own, everywhere) == 1 {
			all = append(all, one("rp-filter", Warning,
				fmt.Sprintf("rp_filter of %s is strict: replies from there may be dropped", device),
				fmt.Sprintf("set net.ipv4.conf.%s.rp_filter=2", device))...)
		}
	}
	return all
}

func rivals(c Case) []Finding {
	tables, err := c.Kernel.Rivals()
	if err != nil {
		return nil
	}
	var all []Finding
	for _, r := range tables {
		switch {
		case r.TProxy:
			all = append(all, one("other-gateway", Error, fmt.Sprintf("table %s diverts traffic, too", r.Table),
				"stop the other gateway: two of them take each other's packets")...)
		case r.DNS:
			all = append(all, one("dns-redirect", Warning, fmt.Sprintf("table %s redirects port 53", r.Table),
				"switch that redirect off (ImmortalWrt: option dns_redirect of dnsmasq); fairlead takes questions either way, but not if that table comes later")...)
		}
	}
	return all
}

func clashes(c Case) []Finding {
	rules, err := c.Kernel.Clashes()
	if err != nil {
		return nil
	}
	var all []Finding
	for _, r := range rules {
		all = append(all, one("mark-clash", Error, "a routing rule asks for bits of fairlead's mark 0x0f000000: "+r,
			"give the other program another mark")...)
	}
	return all
}

func offload(c Case) []Finding {
	var all []Finding
	if tables, err := c.Kernel.HardwareOffload(); err == nil {
		for _, t := range tables {
			all = append(all, one("hardware-offload", Note, fmt.Sprintf("flowtable %s moves flows to the network card", t),
				"nothing to do: only flows whose way is decided get there; software offload may stay on, too")...)
		}
	}
	for _, module := range []string{"mtkhnat", "shortcut_fe", "shortcut_fe_cm", "fast_classifier", "qca_nss_drv", "hwnat"} {
		if _, err := os.Stat(c.path("/sys/module/" + module)); err == nil {
			all = append(all, one("vendor-offload", Error, fmt.Sprintf("the kernel module %s takes packets before the firewall sees them", module),
				fmt.Sprintf("remove %s; the kernel's own software offload may stay on", module))...)
		}
	}
	return all
}

func devices(c Case) []Finding {
	if len(c.Devices) == 0 {
		return one("no-device", Error, "no LAN interface is served", "set list network or list device of section main")
	}
	prefixes, err := c.Kernel.Connected(c.Devices)
	if err != nil {
		return nil
	}
	var all []Finding
	for _, d := range c.Devices {
		if !c.Kernel.Exists(d) {
			all = append(all, one("device-missing", Warning, fmt.Sprintf("the interface %s does not exist", d), "nothing to do if it appears later; else correct its name")...)
		} else if len(prefixes[d]) == 0 {
			all = append(all, one("device-bare", Warning, fmt.Sprintf("the interface %s has no address", d), "give it one: a bridge is served by the bridge's name, not by its ports'")...)
		}
	}
	return all
}

// unserved: the packets of a bridge's ports come in by the bridge.
func unserved(c Case) []Finding {
	var all []Finding
	for _, d := range c.Unserved {
		all = append(all, one("client-device", Warning, fmt.Sprintf("a client section has the interface %s, which is not served: nobody is found by it", d),
			"serve it by section main, or name the devices behind it by their MAC addresses if it is the port of a bridge")...)
	}
	return all
}

// resolver: with nobody on port 53, a LAN has no DNS when fairlead stops.
func resolver(c Case) []Finding {
	for _, table := range []string{"udp", "udp6"} {
		text, err := os.ReadFile(c.path("/proc/net/" + table))
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(text), "\n") {
			if fields := strings.Fields(line); len(fields) > 1 && strings.HasSuffix(fields[1], ":0035") {
				return nil
			}
		}
	}
	return one("no-resolver", Warning, "nothing answers DNS on this router beside fairlead",
		"let dnsmasq run: it answers the next question if fairlead stops")
}

// announced: a WAN may be told not to announce any (option peerdns '0'). Before
// there is one, nobody can have.
func announced(c Case) []Finding {
	if c.Announced == nil || len(c.Announced()) > 0 {
		return nil
	}
	if uplinks, err := c.Kernel.Uplinks(); err != nil || len(uplinks) == 0 {
		return nil
	}
	return one("no-wan-resolver", Error, "the WAN announced no DNS server, so the upstream auto has nobody to ask for names that leave directly",
		"declare an upstream section with a server, and name it in option local_upstream of section dns")
}

// unseen: flows that the gateway carries do not pass the chain forward.
func unseen(c Case) []Finding {
	var all []Finding
	for _, what := range c.Firewall {
		all = append(all, one("firewall-unseen", Warning, what, "see docs/openwrt-firewall.md; option mode 'off' of a client section leaves a device to the firewall alone")...)
	}
	return all
}

func clock(c Case) []Finding {
	if c.Built.IsZero() || !time.Now().Before(c.Built) {
		return nil
	}
	return one("clock", Warning, "the clock is behind the making of this program: "+time.Now().UTC().Format(time.DateOnly),
		"let NTP set it; certificates are judged by the time of the build meanwhile")
}

func (c Case) sysctl(key string) string {
	text, err := os.ReadFile(c.path("/proc/sys/" + key))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (c Case) path(p string) string { return filepath.Join("/", c.Root, p) }
