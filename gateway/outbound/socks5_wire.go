package outbound

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// What RFC 1928 and RFC 1929 put on the wire.
const (
	socksVersion = 5 // RFC 1928 section 3
	authVersion  = 1 // RFC 1929 section 2

	methodNone     = 0x00
	methodPassword = 0x02
	methodRefused  = 0xff

	commandConnect   = 1 // RFC 1928 section 4
	commandAssociate = 3

	typeIPv4   = 1 // RFC 1928 section 5
	typeDomain = 3
	typeIPv6   = 4

	maxField = 255 // of a name, user name or password: its length is one byte
)

// A ReplyError is the reason a node gives for not serving a request (RFC 1928
// section 6). The node itself is alive.
type ReplyError byte

// Alive says that it is the peer that cannot be reached, and not the node.
func (e ReplyError) Alive() bool { return true }

// Error says what the reply's code means.
func (e ReplyError) Error() string {
	texts := [...]string{
		1: "general failure of the node",
		2: "not allowed by the node's rules",
		3: "network unreachable from the node",
		4: "host unreachable from the node",
		5: "connection refused by the host",
		6: "time to live expired on the way from the node",
		7: "command not supported by the node",
		8: "address type not supported by the node",
	}
	if int(e) < len(texts) && texts[e] != "" {
		return texts[e]
	}
	return fmt.Sprintf("reply code %d of the node", byte(e))
}

var (
	errHungUp      = errors.New("the node closed the connection")
	errNotSOCKS5   = errors.New("the server does not speak SOCKS5")
	errNoMethod    = errors.New("the node wants another way of authentication")
	errBadPassword = errors.New("the node does not accept the user name and password")
	errNameLength  = fmt.Errorf("a name must have 1 to %d bytes", maxField)
	errNoTarget    = errors.New("there is neither a host nor an address")
	errShort       = errors.New("it is cut short")
	errFragment    = errors.New("it is a fragment")
)

// An endpoint is a host or an address, and a port, as SOCKS5 writes it.
type endpoint struct {
	host string // if not empty
	addr netip.AddrPort
}

// appendEndpoint appends type, address and port (RFC 1928 section 5). A host
// that is not empty goes before the address.
func appendEndpoint(b []byte, host string, to netip.AddrPort) ([]byte, error) {
	addr := to.Addr().Unmap()
	switch {
	case len(host) > maxField:
		return nil, errNameLength
	case host != "":
		b = append(b, typeDomain, byte(len(host)))
		b = append(b, host...)
	case addr.Is4():
		b = append(b, typeIPv4)
		b = append(b, addr.AsSlice()...)
	case addr.Is6():
		b = append(b, typeIPv6)
		b = append(b, addr.AsSlice()...)
	default:
		return nil, errNoTarget
	}
	return binary.BigEndian.AppendUint16(b, to.Port()), nil
}

// endpointSize is how many bytes an endpoint of type t takes, where first is
// the byte after the type.
func endpointSize(t, first byte) (int, error) {
	switch t {
	case typeIPv4:
		return 1 + 4 + 2, nil
	case typeIPv6:
		return 1 + 16 + 2, nil
	case typeDomain:
		if first == 0 {
			return 0, errNameLength
		}
		return 1 + 1 + int(first) + 2, nil
	}
	return 0, fmt.Errorf("address type %d is unknown", t)
}

// parseEndpoint reads the endpoint that b begins with, and gives the rest.
func parseEndpoint(b []byte) (e endpoint, rest []byte, err error) {
	if len(b) < 2 {
		return endpoint{}, nil, errShort
	}
	size, err := endpointSize(b[0], b[1])
	if err != nil {
		return endpoint{}, nil, err
	}
	if len(b) < size {
		return endpoint{}, nil, errShort
	}
	port := binary.BigEndian.Uint16(b[size-2 : size])
	if b[0] == typeDomain {
		e.host = string(b[2 : size-2])
		e.addr = netip.AddrPortFrom(netip.Addr{}, port)
		return e, b[size:], nil
	}
	addr, _ := netip.AddrFromSlice(b[1 : size-2])
	e.addr = netip.AddrPortFrom(addr.Unmap(), port)
	return e, b[size:], nil
}

// readFull fills b, and says in words that the node ended the stream before.
func readFull(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errHungUp
	}
	return n, err
}

// readReply reads the answer to a request and no byte more: what follows
// belongs to the stream. It returns the endpoint that the node bound.
func readReply(r io.Reader) (endpoint, error) {
	var b [3 + 2 + maxField + 2]byte
	n, err := readFull(r, b[:5])
	switch {
	case n > 0 && b[0] != socksVersion:
		return endpoint{}, errNotSOCKS5
	case n > 1 && b[1] != 0:
		return endpoint{}, ReplyError(b[1]) // some nodes send no more than that
	case err != nil:
		return endpoint{}, err
	}
	size, err := endpointSize(b[3], b[4])
	if err != nil {
		return endpoint{}, err
	}
	if _, err := readFull(r, b[5:3+size]); err != nil {
		return endpoint{}, err
	}
	e, _, err := parseEndpoint(b[3 : 3+size])
	return e, err
}

// appendDatagramHeader begins a datagram (RFC 1928 section 7) for a peer.
func appendDatagramHeader(b []byte, host string, to netip.AddrPort) ([]byte, error) {
	return appendEndpoint(append(b, 0, 0, 0), host, to)
}

// parseDatagram gives the source and payload of what a relay sent. Fragments
// are not put together, which section 7 allows.
func parseDatagram(b []byte) (from endpoint, payload []byte, err error) {
	if len(b) < 3 {
		return endpoint{}, nil, errShort
	}
	if b[2] != 0 {
		return endpoint{}, nil, errFragment
	}
	return parseEndpoint(b[3:])
}
