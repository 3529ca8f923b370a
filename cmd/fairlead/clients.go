package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/gateway/device"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/lease"
)

// clientList is what `fairlead clients --json` prints.
type clientList struct {
	Clients []clientStatus `json:"clients"`
}

// clientStatus is a device of the LAN, and what the policy holds for it. A device
// whose addresses belong to different client sections is listed once for each.
type clientStatus struct {
	MAC       string       `json:"mac"` // empty: unknown
	Addresses []netip.Addr `json:"addresses"`
	Hostname  string       `json:"hostname"`
	Network   string       `json:"network"` // OpenWrt's; empty: served by its device
	Device    string       `json:"device"`
	Client    string       `json:"client"`   // the section, or default
	Mode      string       `json:"mode"`     // fakeip realip off
	Outbound  string       `json:"outbound"` // of what no rule matches
}

func clientsCommand(e env, args []string) int {
	fs, file := flags(e, "clients")
	asJSON := fs.Bool("json", false, "print JSON")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	l, err := clientsOf(*file)
	if err != nil {
		return e.fail(err)
	}
	if *asJSON {
		return e.printJSON(l)
	}
	l.print(e.out)
	return 0
}

// clientsOf asks the running daemon; where there is none, the policy is made
// anew from the configuration.
func clientsOf(file string) (clientList, error) {
	var l clientList
	if err := ask(file, "clients", &l); !errors.Is(err, errNotRunning) {
		return l, err
	}
	cfg, err := config.Load(file, false)
	if err != nil {
		return l, err
	}
	log := slog.New(slog.DiscardHandler)
	gen, err := newGeneration(cfg, nil, log)
	if err != nil {
		return l, err
	}
	defer gen.close()
	names := lease.NewBook(namesOf(cfg), cfg.DNS.LocalDomain, log)
	return gen.clientList(device.New(names, log), names)
}

func (d *daemon) clientList() (clientList, error) {
	d.mu.Lock()
	gen := d.gen
	d.mu.Unlock()
	return gen.clientList(d.devices, d.names)
}

// clientList says who was seen on the LAN, and who has a lease there.
func (g *generation) clientList(devices *device.Table, names *lease.Book) (clientList, error) {
	seen, err := devices.All()
	if err != nil {
		return clientList{}, err
	}
	_, lan, err := route.Connected(g.devices)
	if err != nil {
		return clientList{}, err
	}
	present := slices.DeleteFunc(seen, func(d policy.Device) bool { return !slices.Contains(g.devices, d.Interface) })
	for _, l := range names.Leases() {
		known := slices.ContainsFunc(present, func(d policy.Device) bool { return d.Addr == l.Addr })
		if on := deviceOf(lan, l.Addr); on != "" && !known {
			present = append(present, policy.Device{Addr: l.Addr, MAC: l.MAC, Hostname: l.Hostname, Interface: on})
		}
	}
	return clientList{Clients: g.clients(present)}, nil
}

// deviceOf is the LAN device that an address is behind; empty if none.
func deviceOf(lan map[string][]netip.Prefix, addr netip.Addr) string {
	for on, prefixes := range lan {
		if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return on
		}
	}
	return ""
}

// clients says what the policy holds for devices, the addresses of one together.
func (g *generation) clients(present []policy.Device) []clientStatus {
	type identity struct {
		key    policy.DeviceKey
		on     string
		client policy.Client
	}
	index := map[identity]int{}
	all := []clientStatus{}
	for _, d := range present {
		c := g.policy.Client(d)
		id := identity{d.Key(), d.Interface, c}
		i, known := index[id]
		if !known {
			i, index[id] = len(all), len(all)
			all = append(all, g.client(d, c))
		}
		all[i].Addresses = append(all[i].Addresses, d.Addr)
		all[i].Hostname = or(all[i].Hostname, d.Hostname)
	}
	return all
}

func (g *generation) client(d policy.Device, c policy.Client) clientStatus {
	s := clientStatus{
		Hostname: d.Hostname, Network: g.networkOf(d.Interface), Device: d.Interface,
		Client: g.policy.ClientName(c), Mode: g.policy.Mode(c).String(), Outbound: g.policy.Rest(c),
	}
	if d.MAC != (policy.MAC{}) {
		s.MAC = d.MAC.String()
	}
	if g.policy.Mode(c) == policy.Off {
		s.Outbound = "direct" // nothing of it is diverted, whatever its section says
	}
	return s
}

// networkOf is the served OpenWrt network that a device belongs to; empty if none.
func (g *generation) networkOf(device string) string {
	for _, name := range g.cfg.Networks {
		if slices.Contains(g.networks[name], device) {
			return name
		}
	}
	return ""
}

func (l clientList) print(w io.Writer) {
	if len(l.Clients) == 0 {
		fmt.Fprintln(w, "nobody was seen on the LAN, and nobody has a lease there")
		return
	}
	fmt.Fprintf(w, "%-18s%-17s%-10s%-12s%-7s%s\n", "NAME", "MAC", "  NETWORK", "  CLIENT", "MODE", "OUTBOUND")
	for _, c := range l.Clients {
		fmt.Fprintf(w, "%-18s%-17s  %-8s  %-10s%-7s%s\n",
			or(c.Hostname, "-"), or(c.MAC, "-"), or(c.Network, c.Device), c.Client, c.Mode, c.Outbound)
		fmt.Fprintf(w, "  %s\n", addressList(c.Addresses))
	}
}

func addressList(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}
