package doctor

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// healthy is a machine with nothing wrong.
func healthy(t *testing.T) Case {
	t.Helper()
	c := Case{
		Devices: []string{"br-lan"}, Interfaces: []string{"wg0"}, Running: true, Root: t.TempDir(),
		Kernel: Kernel{
			Probe:           func() error { return nil },
			Rivals:          func() ([]Rival, error) { return nil, nil },
			Clashes:         func() ([]string, error) { return nil, nil },
			HardwareOffload: func() ([]string, error) { return nil, nil },
			Connected: func([]string) (map[string][]netip.Prefix, error) {
				return map[string][]netip.Prefix{"br-lan": {netip.MustParsePrefix("192.168.1.0/24")}}, nil
			},
			Exists:    func(string) bool { return true },
			Uplinks:   func() ([]string, error) { return []string{"wan"}, nil },
			Conntrack: func() error { return nil },
		},
	}
	for path, text := range map[string]string{
		"/proc/sys/net/netfilter/nf_conntrack_max":      "16384",
		"/proc/sys/net/ipv4/ip_forward":                 "1",
		"/proc/sys/net/ipv6/conf/all/forwarding":        "1",
		"/proc/sys/net/bridge/bridge-nf-call-iptables":  "0",
		"/proc/sys/net/bridge/bridge-nf-call-ip6tables": "0",
		"/proc/sys/net/ipv4/conf/all/src_valid_mark":    "0",
		"/proc/sys/net/ipv4/conf/all/rp_filter":         "0",
		"/proc/sys/net/ipv4/conf/wg0/rp_filter":         "2",
		"/proc/net/udp":                                 "  sl  local_address rem_address\n 1: 00000000:0035 00000000:0000 07\n",
	} {
		set(t, c, path, text)
	}
	return c
}

func set(t *testing.T, c Case, path, text string) {
	t.Helper()
	path = filepath.Join(c.Root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAHealthyMachineHasNoFinding(t *testing.T) {
	if got := Examine(healthy(t)); len(got) != 0 {
		t.Errorf("Examine = %+v, want nothing", got)
	}
}

func TestWithoutAWANNobodyIsMissedWhoCouldBeAsked(t *testing.T) {
	c := healthy(t)
	c.Announced = func() []netip.AddrPort { return nil }
	c.Kernel.Uplinks = func() ([]string, error) { return nil, nil }
	if got := Examine(c); len(got) != 0 {
		t.Errorf("Examine = %+v, want nothing", got)
	}
}

func TestEachIllnessIsFoundByItsCode(t *testing.T) {
	for name, tt := range map[string]struct {
		code     string
		severity Severity
		ill      func(c *Case)
	}{
		"a missing module": {"kernel-feature", Error, func(c *Case) { c.Kernel.Probe = func() error { return errors.New("the kernel lacks tproxy") } }},
		"no privilege": {"kernel-feature", Error, func(c *Case) {
			c.Kernel.Probe = func() error { return fs.ErrPermission }
			c.Kernel.Conntrack = func() error { return fs.ErrPermission }
		}},
		"no conntrack":                       {"no-conntrack", Error, func(c *Case) { os.Remove(filepath.Join(c.Root, "/proc/sys/net/netfilter/nf_conntrack_max")) }},
		"no ctnetlink":                       {"no-conntrack-netlink", Warning, func(c *Case) { c.Kernel.Conntrack = func() error { return errors.New("the kernel lacks it") } }},
		"no forwarding":                      {"no-forwarding", Error, func(c *Case) { set(t, *c, "/proc/sys/net/ipv4/ip_forward", "0") }},
		"no IPv6 forwarding":                 {"no-forwarding6", Note, func(c *Case) { set(t, *c, "/proc/sys/net/ipv6/conf/all/forwarding", "0") }},
		"bridge netfilter while running":     {"bridge-netfilter", Error, func(c *Case) { set(t, *c, "/proc/sys/net/bridge/bridge-nf-call-iptables", "1") }},
		"bridge netfilter while not running": {"bridge-netfilter", Note, func(c *Case) { c.Running = false; set(t, *c, "/proc/sys/net/bridge/bridge-nf-call-iptables", "1") }},
		"src_valid_mark":                     {"src-valid-mark", Note, func(c *Case) { set(t, *c, "/proc/sys/net/ipv4/conf/all/src_valid_mark", "1") }},
		"a strict rp_filter on an outbound":  {"rp-filter", Warning, func(c *Case) { set(t, *c, "/proc/sys/net/ipv4/conf/wg0/rp_filter", "1") }},
		"another gateway": {"other-gateway", Error, func(c *Case) {
			c.Kernel.Rivals = func() ([]Rival, error) { return []Rival{{Table: "inet nikki", TProxy: true}}, nil }
		}},
		"another DNS redirect": {"dns-redirect", Warning, func(c *Case) {
			c.Kernel.Rivals = func() ([]Rival, error) { return []Rival{{Table: "inet dnsmasq", DNS: true}}, nil }
		}},
		"a clash of marks": {"mark-clash", Error, func(c *Case) {
			c.Kernel.Clashes = func() ([]string, error) { return []string{"100: fwmark 0x1000000"}, nil }
		}},
		"hardware offload": {"hardware-offload", Note, func(c *Case) {
			c.Kernel.HardwareOffload = func() ([]string, error) { return []string{"inet fw4 ft"}, nil }
		}},
		"a vendor's offload":               {"vendor-offload", Error, func(c *Case) { set(t, *c, "/sys/module/mtkhnat/x", "") }},
		"no device":                        {"no-device", Error, func(c *Case) { c.Devices = nil }},
		"a device that is not there":       {"device-missing", Warning, func(c *Case) { c.Kernel.Exists = func(string) bool { return false } }},
		"a device without an address":      {"device-bare", Warning, func(c *Case) { c.Devices = []string{"eth1"} }},
		"a client behind a bridge's port":  {"client-device", Warning, func(c *Case) { c.Unserved = []string{"lan3"} }},
		"no resolver beside us":            {"no-resolver", Warning, func(c *Case) { set(t, *c, "/proc/net/udp", "") }},
		"a WAN that announced no resolver": {"no-wan-resolver", Error, func(c *Case) { c.Announced = func() []netip.AddrPort { return nil } }},
		"a clock from before the program":  {"clock", Warning, func(c *Case) { c.Built = time.Now().Add(time.Hour) }},
	} {
		t.Run(name, func(t *testing.T) {
			c := healthy(t)
			tt.ill(&c)
			got := Examine(c)
			if len(got) != 1 || got[0].Code != tt.code || got[0].Severity != tt.severity || got[0].Advice == "" {
				t.Errorf("Examine = %+v, want one %s %s with advice", got, tt.severity, tt.code)
			}
			if Broken(got) != (tt.severity == Error) {
				t.Errorf("Broken = %v for severity %s", Broken(got), tt.severity)
			}
		})
	}
}
