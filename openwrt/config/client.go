package config

import "github.com/fairlead/fairlead/gateway/policy"

// clients reads the client sections, and the networks of each. Clients without
// a mode of their own get the one given.
func (b *builder) clients(mode policy.Mode) (clients []policy.Section, networks [][]string) {
	for _, s := range b.of("client") {
		clients = append(clients, s.client(mode))
		networks = append(networks, every(s, "network", parseNetwork))
	}
	return clients, networks
}

// blocks is what is refused of clients that no section matches, and of each section.
func (b *builder) blocks(everyone Blocks) []Blocks {
	all := []Blocks{everyone}
	for _, s := range b.of("client") {
		all = append(all, s.blocks(everyone))
	}
	return all
}

func (s *section) client(mode policy.Mode) policy.Section {
	if !s.has("mac") && !s.has("ip") && !s.has("hostname") && !s.has("network") && !s.has("device") {
		s.mistake("", s.Line, "it matches no client: it needs a list of mac, ip, hostname, network or device")
	}
	if s.has("mode") {
		mode = s.mode()
	}
	return policy.Section{
		Name:      s.Title(),
		MACs:      every(s, "mac", policy.ParseMAC),
		Prefixes:  every(s, "ip", parsePrefix),
		Hostnames: every(s, "hostname", parseName),
		Devices:   every(s, "device", parseDevice),
		Mode:      mode,
		Outbound:  s.reference("outbound", "outbound"),
	}
}
