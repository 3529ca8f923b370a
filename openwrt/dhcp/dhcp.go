// Package dhcp reads what OpenWrt's DHCP and DNS configuration
// (/etc/config/dhcp) says of names. What it does not know is dnsmasq's affair.
package dhcp

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/openwrt/uci"
)

// Config is what all enabled dnsmasq instances together are told of names. Names
// and domains are lower-case, without dots around.
type Config struct {
	Instances     int      // enabled ones
	Domain        string   // of names without one; empty: none
	Local         []string // domains that exist in this network only
	Port          uint16   // of the first instance's DNS; 0: it has none
	ExpandHosts   bool     // names of hosts files without a dot get Domain, too
	DomainNeeded  bool     // names without a dot are not sent on
	BogusPriv     bool     // reverse names of private addresses are not sent on
	Localise      bool     // of several addresses, that of the asker's own subnet is given
	NoHosts       bool     // /etc/hosts does not count
	HostsFiles    []string // further hosts files or directories of them
	LeaseFiles    []string
	GuestFiles    []string // odhcpd's hosts files, whose names devices chose, or directories of them
	RebindDomains []string // may have private addresses
	RebindLocal   bool     // any name may have a loopback address

	Records []Host // of host records: taken as they are written
	Hosts   []Host // as in a hosts file
	Devices []Device
	Aliases []Alias
	Others  []Record // SRV and MX
}

// Host is an address and the names that lead to it.
type Host struct {
	Addr  netip.Addr
	Names []string
}

// Device is a device that is always called by the same name.
type Device struct {
	MACs []policy.MAC
	Name string
	Addr netip.Addr // with this address only, if it is valid
}

// Alias is another name of a name (CNAME).
type Alias struct{ Name, Target string }

// Record is a service (SRV, RFC 2782) or, if Port is 0, a mail server (MX).
type Record struct {
	Name, Target           string
	Port, Priority, Weight uint16
}

// Read reads the file at path. The error is fs.ErrNotExist where there is none.
func Read(path string) (Config, error) {
	text, err := uci.Read(path)
	if err != nil {
		return Config{}, err
	}
	return Parse(text), nil
}

// Parse takes out of a file what can be understood, as dnsmasq's init script
// does: the mistakes of others are not ours to report.
func Parse(text string) Config {
	file, _ := uci.Parse(text)
	var c Config
	for _, s := range file.Sections {
		if s.Type == "dnsmasq" && !flag(s, "disabled", false) {
			c.instance(s)
			c.Instances++
		}
	}
	for _, s := range file.Sections {
		c.section(s)
	}
	return c
}

const portDNS = 53

// instance adds one dnsmasq. Where instances differ, the first decides.
func (c *Config) instance(s *uci.Section) {
	if c.Instances == 0 {
		c.Port = portDNS
		c.Domain = domain(word(s, "domain"))
		c.ExpandHosts, c.DomainNeeded = flag(s, "expandhosts", false), flag(s, "domainneeded", false)
		c.BogusPriv = flag(s, "boguspriv", true)
		c.Localise, c.NoHosts = flag(s, "localise_queries", false), flag(s, "nohosts", false)
		c.RebindLocal = flag(s, "rebind_localhost", false)
		if n, err := strconv.ParseUint(word(s, "port"), 10, 16); err == nil {
			c.Port = uint16(n)
		}
	}
	for _, w := range words(s, "local") {
		c.Local = append(c.Local, domains(w)...)
	}
	for _, w := range words(s, "rebind_domain") {
		c.RebindDomains = append(c.RebindDomains, domains(w)...)
	}
	c.HostsFiles = append(c.HostsFiles, words(s, "addnhosts")...)
	c.LeaseFiles = append(c.LeaseFiles, cmp.Or(word(s, "leasefile"), "/tmp/dhcp.leases"))
}

// section adds what the other sections say.
func (c *Config) section(s *uci.Section) {
	switch s.Type {
	case "host":
		c.device(s)
	case "domain":
		c.Hosts = append(c.Hosts, hosts(s)...)
	case "hostrecord":
		c.Records = append(c.Records, hosts(s)...)
	case "cname":
		for _, name := range strings.Split(word(s, "cname"), ",") {
			if a := (Alias{domain(name), domain(word(s, "target"))}); a.Name != "" && a.Target != "" {
				c.Aliases = append(c.Aliases, a)
			}
		}
	case "srvhost":
		c.service(s)
	case "mxhost":
		if r := (Record{Name: domain(word(s, "domain")), Target: domain(word(s, "relay")), Priority: number(s, "pref")}); r.Name != "" && r.Target != "" {
			c.Others = append(c.Others, r)
		}
	case "odhcpd":
		c.GuestFiles = append(append(c.GuestFiles, words(s, "leasefile")...), words(s, "hostsdir")...)
	}
}

// device takes a static lease. It is in DNS without being leased only by
// `option dns`.
func (c *Config) device(s *uci.Section) {
	name := domain(word(s, "name"))
	if name == "" || !flag(s, "enable", true) {
		return
	}
	addr, _ := netip.ParseAddr(word(s, "ip"))
	d := Device{Name: name, Addr: addr}
	for _, w := range words(s, "mac") {
		if mac, err := policy.ParseMAC(w); err == nil {
			d.MACs = append(d.MACs, mac)
		}
	}
	c.Devices = append(c.Devices, d)
	if addr.IsValid() && flag(s, "dns", false) {
		c.Hosts = append(c.Hosts, Host{addr, []string{name + suffix(c.Domain)}})
	}
}

// service takes an SRV record. One without a domain is of the local one.
func (c *Config) service(s *uci.Section) {
	r := Record{
		Name: domain(word(s, "srv")), Target: domain(word(s, "target")),
		Port: number(s, "port"), Priority: number(s, "class"), Weight: number(s, "weight"),
	}
	if strings.Count(r.Name, ".") == 1 {
		r.Name += suffix(c.Domain)
	}
	if r.Name != "" && r.Target != "" && r.Port != 0 {
		c.Others = append(c.Others, r)
	}
}

func suffix(domain string) string {
	if domain == "" {
		return ""
	}
	return "." + domain
}

// hosts gives each address of a section with all of its names.
func hosts(s *uci.Section) (all []Host) {
	var names []string
	for _, w := range words(s, "name") {
		if name := domain(w); name != "" {
			names = append(names, name)
		}
	}
	for _, w := range words(s, "ip") {
		if addr, err := netip.ParseAddr(w); err == nil && len(names) > 0 {
			all = append(all, Host{addr.Unmap(), names})
		}
	}
	return all
}

// words are the values of an option, as the shell takes them apart.
func words(s *uci.Section, option string) (all []string) {
	o := s.Option(option)
	if o == nil {
		return nil
	}
	for _, v := range o.Values {
		all = append(all, strings.Fields(v.Text)...)
	}
	return all
}

func word(s *uci.Section, option string) string {
	if all := words(s, option); len(all) > 0 {
		return all[0]
	}
	return ""
}

func number(s *uci.Section, option string) uint16 {
	n, _ := strconv.ParseUint(word(s, option), 10, 16)
	return uint16(n)
}

// flag reads a boolean as config_get_bool of OpenWrt's functions.sh does.
func flag(s *uci.Section, option string, otherwise bool) bool {
	switch w := word(s, option); {
	case slices.Contains([]string{"1", "on", "true", "yes", "enabled"}, w):
		return true
	case slices.Contains([]string{"0", "off", "false", "no", "disabled"}, w):
		return false
	}
	return otherwise
}

// domain brings a name into our form.
func domain(s string) string { return strings.Trim(strings.ToLower(s), ".") }

// domains reads dnsmasq's /one/two/ as well as one domain alone. What follows
// the last slash would be a server to ask instead.
func domains(s string) (all []string) {
	if !strings.HasPrefix(s, "/") {
		s = "/" + s + "/"
	}
	parts := strings.Split(s, "/")
	if parts[len(parts)-1] != "" {
		return nil
	}
	for _, p := range parts {
		if d := domain(p); d != "" && d != "#" {
			all = append(all, d)
		}
	}
	return all
}
