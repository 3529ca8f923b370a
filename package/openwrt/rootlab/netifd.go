package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead/fairlead/openwrt/ubus"
	"github.com/fairlead/fairlead/openwrt/ubus/ubustest"
	"github.com/fairlead/fairlead/openwrt/uci"
)

// serveUbus serves ubusd's own socket: netifd and procd, as far as the gateway
// asks them and listens to them. Programs of the router go by busPath.
func (m *manager) serveUbus() (err error) {
	if err := os.MkdirAll(filepath.Dir(ubus.Socket), 0o755); err != nil {
		return err
	}
	if m.ubus, err = ubustest.Start(ubus.Socket); err != nil {
		return err
	}
	m.ubus.Handle("network.interface", map[string]ubustest.Method{"dump": dumpInterfaces})
	m.ubus.Handle("service", map[string]ubustest.Method{"list": m.listOverUbus})
	return os.Chmod(ubus.Socket, 0o666) // for the jail's user, as ubusd does
}

// reloadNetwork is `ubus call network reload`: netifd reads its configuration and
// tells who subscribed.
func (m *manager) reloadNetwork() {
	m.ubus.Notify("network.interface", "interface.update", ubustest.Of("interface", "any"))
}

// dumpInterfaces tells of every interface of the configuration. One without a
// device of its own, as a tunnel is, lies on a device that is called like it.
func dumpInterfaces() (ubustest.Table, uint32) {
	const unknown = 9 // UBUS_STATUS_UNKNOWN_ERROR
	file, err := load("network")
	if err != nil {
		return nil, unknown
	}
	var all ubustest.Array
	for _, s := range file.Sections {
		if s.Type == "interface" {
			all = append(all, dumped(s))
		}
	}
	return ubustest.Of("interface", all), 0
}

func dumped(s *uci.Section) ubustest.Table {
	device, proto := s.Name, "none"
	if o := s.Option("proto"); o != nil {
		proto = o.Values[0].Text
	}
	if o := s.Option("device"); o != nil {
		device = o.Values[0].Text
	}
	_, err := net.InterfaceByName(device)
	i := ubustest.Of("interface", s.Name, "up", err == nil, "proto", proto)
	if err == nil {
		i = append(i, ubustest.Of("l3_device", device)...)
	}
	if s.Option("device") != nil {
		i = append(i, ubustest.Of("device", device)...)
	}
	if proto == "dhcp" {
		i = append(i, ubustest.Of("route", ubustest.Array{ubustest.Of("target", "0.0.0.0", "mask", 0)}, "dns-server", resolvers())...)
	}
	return i
}

// resolvers are those that the provider announced.
func resolvers() (all ubustest.Array) {
	text, _ := os.ReadFile("/tmp/resolv.conf.d/resolv.conf.auto")
	for line := range strings.Lines(string(text)) {
		if server, ok := strings.CutPrefix(strings.TrimSpace(line), "nameserver "); ok {
			all = append(all, server)
		}
	}
	return all
}

func (m *manager) listOverUbus() (ubustest.Table, uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all ubustest.Table
	for _, s := range m.services {
		var instances ubustest.Table
		for _, in := range s.running {
			instances = append(instances, ubustest.Of(in.name, ubustest.Of("running", in.process != nil, "command", fmt.Sprint(in.Command)))...)
		}
		all = append(all, ubustest.Of(s.name, ubustest.Of("instances", instances))...)
	}
	return all, 0
}
