package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
)

// SOCKS5 (RFC 1928) and its user and password method (RFC 1929).
const (
	socksVersion  = 5
	methodUser    = 2
	methodNone    = 0xff
	authVersion   = 1
	cmdConnect    = 1
	cmdAssociate  = 3
	addrIPv4      = 1
	addrName      = 3
	addrIPv6      = 4
	replyOK       = 0
	replyGeneral  = 1
	replyRefused  = 5
	replyCommand  = 7
	udpHeaderBase = 3 // reserved, reserved, fragment
)

// authenticate asks for the user and the password.
func authenticate(c net.Conn) error {
	methods, err := readCounted(c, socksVersion)
	if err != nil {
		return err
	}
	method := byte(methodNone)
	for _, m := range methods {
		if m == methodUser {
			method = methodUser
		}
	}
	if _, err := c.Write([]byte{socksVersion, method}); err != nil {
		return err
	}
	if method == methodNone {
		return errors.New("no method in common")
	}
	user, err := readCounted(c, authVersion)
	if err != nil {
		return err
	}
	password, err := readString(c)
	if err != nil {
		return err
	}
	if string(user) != User || password != Password {
		c.Write([]byte{authVersion, replyGeneral})
		return errors.New("wrong user or password")
	}
	_, err = c.Write([]byte{authVersion, replyOK})
	return err
}

// readCounted reads a version, a length and so many bytes.
func readCounted(r io.Reader, version byte) ([]byte, error) {
	var got [1]byte
	if _, err := io.ReadFull(r, got[:]); err != nil {
		return nil, err
	}
	if got[0] != version {
		return nil, fmt.Errorf("version %d, want %d", got[0], version)
	}
	s, err := readString(r)
	return []byte(s), err
}

func readString(r io.Reader) (string, error) {
	var length [1]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return "", err
	}
	b := make([]byte, length[0])
	_, err := io.ReadFull(r, b)
	return string(b), err
}

func readRequest(r io.Reader) (command byte, target string, err error) {
	var head [3]byte // version, command, reserved
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, "", err
	}
	if head[0] != socksVersion {
		return 0, "", fmt.Errorf("version %d, want %d", head[0], socksVersion)
	}
	target, err = readTarget(r)
	return head[1], target, err
}

// readTarget reads an address type, an address or a name, and a port.
func readTarget(r io.Reader) (string, error) {
	var kind [1]byte
	if _, err := io.ReadFull(r, kind[:]); err != nil {
		return "", err
	}
	var host string
	switch kind[0] {
	case addrName:
		name, err := readString(r)
		if err != nil {
			return "", err
		}
		host = name
	case addrIPv4, addrIPv6:
		b := make([]byte, map[byte]int{addrIPv4: 4, addrIPv6: 16}[kind[0]])
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		addr, _ := netip.AddrFromSlice(b)
		host = addr.String()
	default:
		return "", fmt.Errorf("address type %d", kind[0])
	}
	var port [2]byte
	if _, err := io.ReadFull(r, port[:]); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:])))), nil
}

func appendTarget(b []byte, at netip.AddrPort) []byte {
	addr := at.Addr()
	if !addr.IsValid() {
		addr = netip.IPv4Unspecified()
	}
	kind := byte(addrIPv4)
	if addr.Is6() {
		kind = addrIPv6
	}
	b = append(append(b, kind), addr.AsSlice()...)
	return binary.BigEndian.AppendUint16(b, at.Port())
}

func writeReply(c net.Conn, reply byte, bound netip.AddrPort) error {
	_, err := c.Write(appendTarget([]byte{socksVersion, reply, 0}, bound))
	return err
}
