// Package firewall reads OpenWrt's firewall configuration as fw4 does, and says
// what it refuses the devices of the LAN: flows that the daemon carries do not
// pass fw4's own rules.
package firewall

import (
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// Firewall is what one reading of the configuration gave. It is never changed.
type Firewall struct {
	forward, input verdict // of what no zone says anything about
	zones          []zone
	rules          []rule       // in the order of the file
	forwardings    []forwarding // behind all rules, as fw4 has them
	includes       []string     // of nft code that is not read
	clock          *time.Location
}

// verdict is accept, reject or drop, as far as it matters here.
type verdict bool

const (
	refuse verdict = false
	accept verdict = true
)

type zone struct {
	name           string
	family         uint8 // 4 or 6; 0: both
	networks       []string
	devices        []string // a `+` at the end stands for anything
	masq           bool
	input, forward verdict // forward: within the zone only
	unseen         string  // why its devices cannot be told; empty: they can
}

type forwarding struct {
	src, dest string // names of zones; `*`: any
	family    uint8
}

// anyZone is a zone of a rule or a forwarding that stands for all.
const anyZone = "*"

// Parse reads the text of /etc/config/firewall, and the time zone from that of
// /etc/config/system; both may be empty. Sections that fw4 would skip for a
// mistake are skipped here, too: to say so is fw4's affair.
func Parse(text, system string) *Firewall {
	file, _ := uci.Parse(text)
	f := &Firewall{forward: refuse, input: refuse, clock: clockOf(system)}
	if s := first(file, "defaults"); s != nil {
		r := reader{section: s}
		f.input, f.forward = r.policy("input", refuse), r.policy("forward", refuse)
	}
	for _, s := range sections(file, "zone") {
		f.addZone(reader{section: s})
	}
	for _, s := range sections(file, "rule") {
		f.addRule(reader{section: s})
	}
	for _, s := range sections(file, "forwarding") {
		f.addForwarding(reader{section: s})
	}
	for _, s := range sections(file, "include") {
		f.addInclude(reader{section: s})
	}
	return f
}

func first(file *uci.File, kind string) *uci.Section {
	if all := sections(file, kind); len(all) > 0 {
		return all[0]
	}
	return nil
}

func sections(file *uci.File, kind string) []*uci.Section {
	var all []*uci.Section
	for _, s := range file.Sections {
		if s.Type == kind {
			all = append(all, s)
		}
	}
	return all
}

func (f *Firewall) addZone(r reader) {
	z := zone{
		name: r.text("name"), family: r.family(), masq: r.flag("masq", false),
		input: r.policy("input", f.input), forward: r.policy("forward", f.forward),
		networks: r.words("network"), devices: r.words("device"),
	}
	if len(r.words("subnet")) > 0 {
		z.unseen = "its option subnet"
	}
	if slices.ContainsFunc(slices.Concat(z.networks, z.devices), excludes) {
		z.unseen = "a network or device that it excludes"
	}
	if r.enabled() && z.name != "" && !r.bad {
		f.zones = append(f.zones, z)
	}
}

func excludes(name string) bool { return strings.HasPrefix(name, "!") }

func (f *Firewall) addForwarding(r reader) {
	w := forwarding{src: r.text("src"), dest: r.text("dest"), family: r.family()}
	if !r.enabled() || r.bad || !f.knows(w.src) || !f.knows(w.dest) {
		return
	}
	family, ok := both(w.family, f.familyOf(w.src))
	if family, ok = also(family, ok, f.familyOf(w.dest)); ok {
		w.family = family
		f.forwardings = append(f.forwardings, w)
	}
}

// addInclude notes nft code. Scripts run beside the firewall, as those of anybody do.
func (f *Firewall) addInclude(r reader) {
	if r.enabled() && abbreviates(r.text("type"), "nftables") {
		f.includes = append(f.includes, r.text("path"))
	}
}

// knows tells whether the zone is there, or stands for all.
func (f *Firewall) knows(name string) bool { return name == anyZone || f.index(name) >= 0 }

func (f *Firewall) index(name string) int {
	return slices.IndexFunc(f.zones, func(z zone) bool { return z.name == name })
}

// familyOf is the family that a zone is restricted to; 0: none.
func (f *Firewall) familyOf(name string) uint8 {
	if i := f.index(name); i >= 0 {
		return f.zones[i].family
	}
	return 0
}

// both is the family for which two restrictions hold, unless there is none.
func both(a, b uint8) (family uint8, ok bool) { return a | b, a == 0 || b == 0 || a == b }

func also(a uint8, ok bool, b uint8) (uint8, bool) {
	family, compatible := both(a, b)
	return family, ok && compatible
}
