package tproxy

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Resend sends datagrams of a client, as if it had sent them just now, to the
// address that it dialled: the first of them begins a flow that the kernel
// carries from then on. The mark is that of our own packets, so that the
// datagrams are not diverted again. What the kernel does not take is lost, as
// on any link; the error is that of the first.
func Resend(client, dialled netip.AddrPort, datagrams [][]byte, mark uint32) error {
	fd, err := clientSocket(client, mark)
	if errors.Is(err, unix.EADDRINUSE) {
		return resendRaw(client, dialled, datagrams, mark)
	}
	if err != nil {
		return fmt.Errorf("sending datagrams of %s again: %w", client, err)
	}
	defer unix.Close(fd)
	var first error
	for _, d := range datagrams {
		if err := unix.Sendto(fd, d, unix.MSG_DONTWAIT, unixSockaddr(dialled)); err != nil && first == nil {
			first = fmt.Errorf("sending datagrams of %s to %s again: %w", client, dialled, err)
		}
	}
	return first
}

// resendRaw is Resend for a program of this machine, which holds the port itself.
func resendRaw(client, dialled netip.AddrPort, datagrams [][]byte, mark uint32) error {
	s, err := NewSender()
	if err != nil {
		return err
	}
	defer s.Close()
	fd := s.fd4
	if client.Addr().Is6() {
		fd = s.fd6
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("setting SO_MARK: %w", err)
	}
	var first error
	for _, d := range datagrams {
		if err := s.Send(d, client, dialled); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// clientSocket is bound to an address that is not this machine's.
func clientSocket(client netip.AddrPort, mark uint32) (int, error) {
	family, v6 := unix.AF_INET, client.Addr().Is6()
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := transparent(fd, v6); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("setting SO_MARK: %w", err)
	}
	if err := unix.Bind(fd, unixSockaddr(client)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("binding to %s: %w", client, err)
	}
	return fd, nil
}
