package support

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRead bounds what is read of any file.
const maxRead = 256 << 10

// Machine is a router's file system.
type Machine struct {
	Root    string   // empty: /
	Devices []string // network interfaces that matter
	Dirs    []string // whose free space matters
}

// Sections are what the machine's files tell.
func (m Machine) Sections() []Section {
	return []Section{m.board(), m.memory(), m.storage(), m.sysctls(), m.modules(), m.others(), m.dnsmasq()}
}

func (m Machine) path(p string) string { return filepath.Join("/", m.Root, p) }

func (m Machine) read(path string) (string, error) {
	f, err := os.Open(m.path(path))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRead))
	return string(text), err
}

// board is the kind of device and the release; board.json also has passwords and
// hardware addresses.
func (m Machine) board() Section {
	s := Section{Title: "board"}
	if text, err := m.read("/etc/board.json"); err == nil {
		var board struct{ Model struct{ ID, Name string } }
		s.Err = json.Unmarshal([]byte(text), &board)
		s.Lines = append(s.Lines, "model "+board.Model.ID+" "+board.Model.Name)
	}
	release, err := m.read("/etc/openwrt_release")
	if errors.Is(err, fs.ErrNotExist) {
		release, err = m.read("/etc/os-release")
	}
	for line := range strings.Lines(release) {
		key, _, _ := strings.Cut(line, "=")
		if strings.HasPrefix(key, "DISTRIB_") || slices.Contains([]string{"ID", "VERSION_ID", "PRETTY_NAME"}, key) {
			s.Lines = append(s.Lines, strings.TrimSpace(line))
		}
	}
	s.Err = errors.Join(s.Err, err)
	return s
}

func (m Machine) memory() Section {
	text, err := m.read("/proc/meminfo")
	return Section{Title: "memory", Lines: linesOf(text, "MemTotal:", "MemAvailable:", "SwapTotal:"), Err: err}
}

// linesOf are the lines that begin with one of some words.
func linesOf(text string, words ...string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && slices.Contains(words, fields[0]) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func (m Machine) storage() Section {
	s := Section{Title: "storage"}
	for _, dir := range m.Dirs {
		var st unix.Statfs_t
		if unix.Statfs(m.path(dir), &st) == nil {
			size := int64(st.Bsize)
			s.Lines = append(s.Lines, fmt.Sprintf("%s: %d KB free of %d KB", dir, int64(st.Bavail)*size>>10, int64(st.Blocks)*size>>10))
		}
	}
	return s
}

func (m Machine) sysctls() Section {
	s := Section{Title: "sysctls"}
	names := []string{
		"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/all/disable_ipv6", "net/ipv4/conf/all/src_valid_mark",
		"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/conf/all/route_localnet",
		"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables",
		"net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_count", "net/core/rmem_max", "net/core/wmem_max",
	}
	for _, device := range m.Devices {
		names = append(names, "net/ipv4/conf/"+device+"/rp_filter", "net/ipv4/conf/"+device+"/src_valid_mark")
	}
	for _, name := range names {
		if value, err := m.read("/proc/sys/" + name); err == nil {
			s.Lines = append(s.Lines, strings.ReplaceAll(name, "/", ".")+" = "+strings.TrimSpace(value))
		}
	}
	return s
}

// modules are those that carry packets, ours and those that get in the way.
func (m Machine) modules() Section {
	text, err := m.read("/proc/modules")
	s := Section{Title: "kernel modules", Err: err}
	var names []string
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, " ")
		for _, prefix := range []string{"nf_", "nft_", "nfnetlink", "br_netfilter", "xt_TPROXY", "mtkhnat", "shortcut_fe", "fast_classifier", "qca_nss", "hwnat", "wireguard"} {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 0 {
		s.Lines = []string{strings.Join(names, " ")}
	}
	return s
}

// others are programs that take packets or questions, too.
func (m Machine) others() Section {
	s := Section{Title: "other programs"}
	enabled, _ := filepath.Glob(m.path("/etc/rc.d/S*"))
	for _, name := range []string{
		"adblock", "adblock-fast", "adguardhome", "banip", "clash", "dnscrypt-proxy", "dockerd", "homeproxy", "https-dns-proxy", "mwan3",
		"natmap", "nextdns", "nikki", "odhcpd", "openclash", "openvpn", "passwall", "passwall2", "pbr", "podkop", "sing-box", "smartdns",
		"sqm", "ssr-plus", "stubby", "tailscale", "unbound", "v2raya", "xray", "zapret", "zerotier",
	} {
		if _, err := os.Stat(m.path("/etc/init.d/" + name)); err != nil {
			continue
		}
		state := "disabled"
		if slices.ContainsFunc(enabled, func(p string) bool { return strings.TrimLeft(filepath.Base(p), "S0123456789") == name }) {
			state = "enabled"
		}
		s.Lines = append(s.Lines, name+" "+state)
	}
	return s
}

// dnsmasq is its generated configuration: all keywords, and the values of those
// that tell how it runs, not for whom.
func (m Machine) dnsmasq() Section {
	s := Section{Title: "dnsmasq"}
	files, _ := filepath.Glob(m.path("/var/etc/dnsmasq.conf*"))
	for _, file := range files {
		text, err := m.read(strings.TrimPrefix(file, filepath.Join("/", m.Root)))
		s.Err = errors.Join(s.Err, err)
		s.Lines = append(s.Lines, "file "+filepath.Base(file))
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			key, _, hasValue := strings.Cut(line, "=")
			if hasValue && !slices.Contains(shownKeywords(), key) {
				line = key + "=[removed]"
			}
			if last := len(s.Lines) - 1; s.Lines[last] != line {
				s.Lines = append(s.Lines, line)
			}
		}
	}
	return s
}

// shownKeywords of dnsmasq(8) have values that tell nothing about a household.
func shownKeywords() []string {
	return []string{
		"port", "conf-dir", "resolv-file", "dhcp-leasefile", "user", "group", "interface", "except-interface", "no-dhcp-interface",
		"cache-size", "dns-forward-max", "edns-packet-max", "min-port", "max-port", "local-ttl", "dhcp-script", "pid-file", "log-facility",
	}
}
