package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// nodePort is that of a SOCKS5 server without a password and without a log, in
// place of the lab's, which remembers every target.
const nodePort = 1081

// serveNode runs a SOCKS5 server (RFC 1928) that knows CONNECT and takes every
// name for that of one host.
func serveNode(_ *ground, host netip.Addr) error {
	return serveTCP(nodePort, func(c *net.TCPConn) {
		port, err := acceptSOCKS(c)
		if err != nil {
			return
		}
		up, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(host, port)))
		if err != nil {
			return
		}
		defer up.Close()
		if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(c, up)
			c.CloseWrite()
		}()
		io.Copy(up, c)
		up.CloseWrite()
		<-done
	})
}

// acceptSOCKS reads the greeting and a request for a name, and gives its port.
func acceptSOCKS(c net.Conn) (port uint16, err error) {
	var b [260]byte
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(c, b[:b[1]]); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(c, b[:5]); err != nil {
		return 0, err
	}
	if b[1] != 1 || b[3] != 3 {
		return 0, fmt.Errorf("request %d for an address of type %d: %w", b[1], b[3], errors.ErrUnsupported)
	}
	length := int(b[4]) + 2
	if _, err := io.ReadFull(c, b[:length]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint16(b[length-2:]), nil
}
