package policy

import (
	"net/netip"
	"slices"
)

// Client is the number of a client section: 0 for devices that none matches,
// i+1 for Config.Clients[i]. It has a meaning only to the Policy that gave it.
type Client uint16

// defaultName is what clients and rules that nobody declared are called.
const defaultName = "default"

// Device is what is known of a device on the LAN. What is not known is zero.
type Device struct {
	Addr      netip.Addr
	MAC       MAC
	Hostname  string // as in DHCP leases, lower-case
	Interface string // the Linux interface its packets arrive on
}

// DeviceKey is what one device is counted and remembered by.
type DeviceKey struct {
	mac  MAC
	addr netip.Addr
}

// Key is the device's hardware address, which all its IP addresses share, or
// else its only known address.
func (d Device) Key() DeviceKey {
	if d.MAC != (MAC{}) {
		return DeviceKey{mac: d.MAC}
	}
	return DeviceKey{addr: d.Addr}
}

// section is a client section, compiled.
type section struct {
	Section
	addrs ranges
	rest  Verdict // of what no rule matches
	told  bool    // see findTold
}

func (s *section) match(d Device) bool {
	return s.addrs.contain(d.Addr) ||
		d.MAC != MAC{} && slices.Contains(s.MACs, d.MAC) ||
		d.Hostname != "" && slices.Contains(s.Hostnames, d.Hostname) ||
		d.Interface != "" && slices.Contains(s.Devices, d.Interface)
}

// Client says which client section a device belongs to: the first that matches
// by any of its lists.
func (p *Policy) Client(d Device) Client {
	for i := 1; i < len(p.sections); i++ {
		if p.sections[i].match(d) {
			return Client(i)
		}
	}
	return 0
}

// Clients counts the clients, number 0 included: all are below it.
func (p *Policy) Clients() int { return len(p.sections) }

// Mode says how the names that the client asks for are answered.
func (p *Policy) Mode(c Client) Mode { return p.sections[c].Mode }

// ClientName is the name of the client's section; "default" for number 0.
func (p *Policy) ClientName(c Client) string { return p.sections[c].Name }

// Rest is the outbound of what no rule matches of the client's flows.
func (p *Policy) Rest(c Client) string { return p.sections[c].rest.Outbound }

// ClientByName finds the client of a section; number 0 is called "default"
// unless a section is.
func (p *Policy) ClientByName(name string) (Client, bool) {
	for i := 1; i < len(p.sections); i++ {
		if p.sections[i].Name == name {
			return Client(i), true
		}
	}
	return 0, name == defaultName
}
