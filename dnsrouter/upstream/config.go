package upstream

import "net/netip"

// Config is one upstream: the servers that are asked, and how a question
// reaches them.
type Config struct {
	Name      string
	Servers   []Server         // never empty
	Outbound  string           // how the question itself travels
	Bootstrap []netip.AddrPort // resolves a Server given by name, over plain UDP directly; the only place that may
}

// Server is one server of an upstream.
type Server struct {
	Scheme string         // udp tcp tls https quic h3, or auto: the WAN's own resolvers
	Host   string         // lower-case name for TLS and bootstrap; empty for a plain address
	Addr   netip.AddrPort // valid port always (53, 853 or 443 by default); Addr().IsValid() false: Host must be resolved
	Path   string         // of https and h3, by default /dns-query
}

// IsBootstrap says whether the server can itself tell where others are: by its
// address, in the clear.
func (s Server) IsBootstrap() bool { return s.Scheme == "udp" && s.Addr.Addr().IsValid() }
