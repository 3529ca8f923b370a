package main

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/gateway/device"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/firewall"
)

// locate adds the interface that a device is behind, and what else the LAN knows
// of it. Where only one is served, it is behind that: an address that is on no
// network of ours seems to be behind the WAN.
func (g *generation) locate(d policy.Device, devices *device.Table) policy.Device {
	if !slices.Contains(g.devices, d.Interface) {
		d.Interface = ""
	}
	if seen, err := devices.All(); err == nil && d.Interface == "" && d.MAC != (policy.MAC{}) {
		i := slices.IndexFunc(seen, func(s policy.Device) bool { return s.MAC == d.MAC && slices.Contains(g.devices, s.Interface) })
		if i >= 0 {
			d.Interface = seen[i].Interface
		}
	}
	if _, lan, err := route.Connected(g.devices); err == nil && d.Interface == "" && d.Addr.IsValid() {
		d.Interface = deviceOf(lan, d.Addr)
	}
	if d.Interface == "" && len(g.devices) == 1 {
		d.Interface = g.devices[0]
	}
	return d
}

// only is what a section says of its one device, as far as it has but one.
func only(s policy.Section) policy.Device {
	var d policy.Device
	if len(s.MACs) == 1 {
		d.MAC = s.MACs[0]
	}
	if len(s.Prefixes) == 1 && s.Prefixes[0].IsSingleIP() {
		d.Addr = s.Prefixes[0].Addr()
	}
	if len(s.Devices) == 1 {
		d.Interface = s.Devices[0]
	}
	return d
}

// askFirewall says what the machine's firewall does with what is explained. Of
// what leaves by an interface outbound, or stays in this machine's networks, it
// knows nothing: that is not the WAN.
func (x *explanation) askFirewall(g *generation, from policy.Device, s subject) {
	if x.Path != "relay" && x.Path != "kernel" || s.local || s.near && !s.question() || x.kind == policy.Interface {
		return
	}
	w := wallOf(g.cfg)
	f, err := w.book.Look()
	if err != nil || f == nil {
		return
	}
	ours := s.own && s.question()
	if s.name != "" || ours {
		question := firewall.Flow{From: from, Family: versionOf(from.Addr), Proto: policy.UDP, Port: portDNS}
		if a := f.Answers(w.place(g), question, time.Now()); a.Refused {
			x.Answer, x.Upstream, x.why = "none", "", nil
			x.refusedBy(a, "the firewall does not let the client ask this router")
			return
		}
	}
	if ours {
		return
	}
	flow := firewall.Flow{From: from, Family: versionOf(s.addr), To: s.addr, Proto: s.proto, Port: s.port}
	if x.Answer == "fake" {
		flow.To = g.cfg.DNS.Fake4.Addr()
	}
	switch a := f.Forwards(w.place(g), flow, time.Now()); {
	case a.Refused:
		x.refusedBy(a, "the firewall does not let the flow reach the WAN")
	case len(a.Unless) > 0:
		x.say("the firewall refuses it if it matches %s, which asks for what is not known here", quoted(a.Unless))
	}
}

func (x *explanation) refusedBy(a firewall.Answer, what string) {
	x.Rule, x.Outbound, x.Path = a.By, "reject", "reject"
	x.say("%s, by %s at this moment, whatever fairlead's rules say", what, quoted([]string{a.By}))
	if len(a.Unless) > 0 {
		x.say("unless it matches %s, which asks for what is not known here", quoted(a.Unless))
	}
}

func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

func versionOf(a netip.Addr) uint8 {
	switch {
	case !a.IsValid():
		return 0
	case a.Is4():
		return 4
	}
	return 6
}
