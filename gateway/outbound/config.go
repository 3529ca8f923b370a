package outbound

import "net/netip"

// Config is one declared outbound. Which fields have a meaning depends on Type.
type Config struct {
	Name      string
	Type      string           // interface socks5 (more to come)
	Server    string           // node: address or lower-case name
	Port      uint16           // node
	Username  string           // node; empty: no authentication
	Password  string           // node
	Bootstrap []netip.AddrPort // node: resolves Server if it is a name; nothing else is asked there
	Upstream  string           // for names that leave here; empty: the remote upstream
	Device    string           // interface
	Gateway   netip.Addr       // interface; the zero Addr where the link needs none
	Masq      bool             // interface
	Members   []string         // groups
}
