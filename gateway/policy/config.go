package policy

import (
	"net/netip"
)

// Mode says how the names that a client asks for are answered.
type Mode uint8

// The modes of a client. The zero value is fakeip, the default of the UCI option dns.mode.
const (
	FakeIP Mode = iota // names that do not leave directly are answered with a fake address
	RealIP             // every name is answered with its real addresses
	Off                // neither the client's DNS nor its packets are diverted
)

// Kind is what an outbound does with a flow, as far as DNS and the kernel need to know it.
type Kind uint8

// The kinds of outbounds.
const (
	Direct    Kind = iota // plain forwarding
	Reject                // refused
	Interface             // another interface of this router, by policy route
	Node                  // relayed through a proxy node
)

// MAC is a 48-bit Ethernet address.
type MAC [6]byte

// Config is everything the policy is made of. It is validated by whoever fills
// it: every name in it is declared, every list parsed.
type Config struct {
	Mode           Mode       // of clients that no section matches
	Default        string     // outbound of what no rule matches
	Sniff          bool       // flows are sniffed for their name
	Clients        []Section  // in order: the first that matches is the client's
	Rules          []Rule     // in order: the first that matches decides
	RealIP         []Pattern  // names answered with real addresses in every mode
	Router         bool       // flows of the router itself are client 0's, though it is given real addresses only
	Outbounds      []Outbound // all that are declared; direct and reject exist without
	LocalUpstream  string     // asked for names that leave directly
	RemoteUpstream string     // asked for names that leave any other way, unless their outbound says otherwise
}

// Section is one client section: whom it matches and what is theirs. A device
// matches by any of the lists.
type Section struct {
	Name      string // in explain, logs and rules: the section's name, or @client[N]
	MACs      []MAC
	Prefixes  []netip.Prefix // single addresses are prefixes of full length
	Hostnames []string       // as in DHCP leases, lower-case
	Devices   []string       // Linux interfaces, resolved from network and device lists
	Mode      Mode
	Outbound  string // for what no rule matches; empty: Config.Default
}

// Outbound is what the policy needs to know of an outbound.
type Outbound struct {
	Name     string
	Kind     Kind
	Upstream string // for names that leave here; empty: Config.RemoteUpstream
}

// Rule is one rule. Domains, Sets and Prefixes are alternatives to each other;
// each other list must hold as well; an empty list matches everything.
type Rule struct {
	Name      string   // option name, else the section's name, else @rule[N]
	Clients   []string // names of Sections
	Domains   []Pattern
	Sets      []*Set
	Prefixes  []netip.Prefix
	Ports     []PortRange // destination ports
	Protos    ProtoSet
	Protocols ProtocolSet
	Outbound  string
	Resolve   bool // the name is resolved by the remote upstream to compare its address
}

// PortRange is an inclusive range of ports.
type PortRange struct{ First, Last uint16 }

// Proto is a transport protocol, numbered as in the IP header. Zero is unknown.
type Proto uint8

// The transports that can be diverted.
const (
	TCP Proto = 6
	UDP Proto = 17
)

// ProtoSet is a set of transports. The zero set matches every one.
type ProtoSet uint8

// The members of a ProtoSet.
const (
	SetTCP ProtoSet = 1 << iota
	SetUDP
)

// Protocol is an application protocol as told by the first bytes of a flow.
type Protocol uint8

// The protocols that can be told. The zero value is unknown.
const (
	UnknownProtocol Protocol = iota
	TLS
	HTTP
	QUIC
	SSH
	BitTorrent
	STUN
	DNS
)

// ProtocolSet is a set of protocols, bit 1<<Protocol. The zero set matches every one.
type ProtocolSet uint16
