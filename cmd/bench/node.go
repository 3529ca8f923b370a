package main

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// nodePort is that of a SOCKS5 server without a password and without a log, in
// place of the lab's, which remembers every target.
const nodePort = 1081

// associate is the command for datagrams; all others are taken for CONNECT.
const associate = 3

// serveNode runs a SOCKS5 server (RFC 1928) that takes every name for that of
// one host. It takes datagrams to there, but nothing back.
func serveNode(_ *ground, host netip.Addr) error {
	return serveTCP(nodePort, func(c *net.TCPConn) {
		command, port, err := acceptSOCKS(c)
		if err != nil {
			return
		}
		if command == associate {
			relayDatagrams(c, host)
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

// acceptSOCKS reads the greeting and a request, and gives its port.
func acceptSOCKS(c net.Conn) (command byte, port uint16, err error) {
	var b [260]byte
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return 0, 0, err
	}
	if _, err := io.ReadFull(c, b[:b[1]]); err != nil {
		return 0, 0, err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return 0, 0, err
	}
	if _, err := io.ReadFull(c, b[:5]); err != nil {
		return 0, 0, err
	}
	command = b[1]
	length := net.IPv4len + 1 // of the address and the port; one byte of them is read
	if b[3] == 3 {            // a name
		length = int(b[4]) + 2
	}
	if _, err := io.ReadFull(c, b[:length]); err != nil {
		return 0, 0, err
	}
	return command, binary.BigEndian.Uint16(b[length-2:]), nil
}

// relayDatagrams sends on what comes for a name, until the client goes. All of
// it is for the port that the first is for.
func relayDatagrams(c *net.TCPConn, host netip.Addr) {
	at := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	fd, err := boundUDP(netip.AddrPortFrom(at, 0))
	if err != nil {
		return
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return
	}
	go func() {
		defer unix.Close(fd)
		forward(fd, host)
	}()
	reply := append([]byte{5, 0, 0, 1}, at.AsSlice()...)
	c.Write(binary.BigEndian.AppendUint16(reply, uint16(name.(*unix.SockaddrInet4).Port)))
	io.Copy(io.Discard, c)
	unix.Shutdown(fd, unix.SHUT_RD) // wakes forward
}

// headerOf is how long the header of a datagram is (RFC 1928 section 7): one of
// fairlead's own questions is for an address, and others are for a name.
func headerOf(d []byte) int {
	if len(d) > 4 && d[3] == 3 {
		return 4 + 1 + int(d[4]) + 2
	}
	return 4 + net.IPv4len + 2
}

func forward(fd int, host netip.Addr) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	in, out := newBatchIO(fd, false), (*batchIO)(nil)
	for {
		n, err := in.receive(unix.MSG_WAITFORONE)
		if err == unix.EINTR {
			continue
		}
		if err != nil || len(in.received(0)) == 0 {
			return
		}
		for i := range n {
			d := in.received(i)
			head := headerOf(d)
			if len(d) < head {
				return
			}
			if out == nil {
				to, err := connectedUDP(netip.AddrPortFrom(host, binary.BigEndian.Uint16(d[head-2:])))
				if err != nil {
					return
				}
				defer unix.Close(to)
				out = newBatchIO(to, true)
			}
			out.iovs[i].SetLen(copy(out.bufs[i][:], d[head:]))
		}
		out.sendFrom(0, n)
	}
}
