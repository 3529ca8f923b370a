package policy

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// String gives the mode as UCI writes it: fakeip, realip or off.
func (m Mode) String() string {
	switch m {
	case FakeIP:
		return "fakeip"
	case RealIP:
		return "realip"
	case Off:
		return "off"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseMode reads fakeip, realip or off.
func ParseMode(s string) (Mode, error) {
	for m := FakeIP; m <= Off; m++ {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%q is no mode: write fakeip, realip or off", s)
}

// String gives the kind as one word: direct, reject, interface or node.
func (k Kind) String() string {
	switch k {
	case Direct:
		return "direct"
	case Reject:
		return "reject"
	case Interface:
		return "interface"
	case Node:
		return "node"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// String gives the transport as UCI writes it: tcp or udp; unknown for zero.
func (p Proto) String() string {
	switch p {
	case 0:
		return "unknown"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("proto %d", uint8(p))
}

// Set is the set of this transport alone; the empty set for one that cannot be
// diverted.
func (p Proto) Set() ProtoSet {
	switch p {
	case TCP:
		return SetTCP
	case UDP:
		return SetUDP
	}
	return 0
}

// ParseProto reads tcp or udp.
func ParseProto(s string) (Proto, error) {
	for _, p := range []Proto{TCP, UDP} {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%q is no proto: write tcp or udp", s)
}

// protocols are the names of the protocols as UCI writes them, by number.
func protocols() []string {
	return []string{"unknown", "tls", "http", "quic", "ssh", "bittorrent", "stun", "dns"}
}

// String gives the protocol as UCI writes it: tls, http, quic, ssh,
// bittorrent, stun or dns; unknown for zero.
func (p Protocol) String() string {
	if names := protocols(); int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// Set is the set of this protocol alone; the empty set for UnknownProtocol.
func (p Protocol) Set() ProtocolSet {
	if p == UnknownProtocol {
		return 0
	}
	return 1 << p
}

// ParseProtocol reads tls, http, quic, ssh, bittorrent, stun or dns.
func ParseProtocol(s string) (Protocol, error) {
	known := protocols()
	for i := int(TLS); i < len(known); i++ {
		if s == known[i] {
			return Protocol(i), nil
		}
	}
	return 0, fmt.Errorf("%q is no protocol: write one of %s", s, strings.Join(known[TLS:], " "))
}

// String gives the range as UCI writes it: 443 or 8000-9000.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// ParsePorts reads one port, 443, or an inclusive range of them, 8000-9000.
func ParsePorts(s string) (PortRange, error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil || first == 0 || last == 0 {
		return PortRange{}, fmt.Errorf("%q is no port from 1 to 65535 and no range of them such as 8000-9000", s)
	}
	if last < first {
		return PortRange{}, fmt.Errorf("port range %q ends before it begins", s)
	}
	return PortRange{First: uint16(first), Last: uint16(last)}, nil
}

// String gives the address as six hexadecimal bytes with colons, lower-case.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// ParseMAC reads an Ethernet address of six bytes in any notation that
// net.ParseMAC reads. The zero address is refused: it stands for a device whose
// address is not known.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("%q is no Ethernet address such as aa:bb:cc:dd:ee:ff", s)
	}
	m := MAC(hw)
	if m == (MAC{}) {
		return MAC{}, fmt.Errorf("%s is no device's address", m)
	}
	return m, nil
}
