package leaks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// captureBuffer holds what leaves between two looks: each packet takes a
// kilobyte or so, whatever its length.
const captureBuffer = 2 << 20

// maxAtOnce bounds what one look reads of a device.
const maxAtOnce = 8192

// capture is the packets to be sorted that leave by one device.
type capture struct {
	device string
	index  int
	fd     int
	buf    [snapLength]byte
}

// openCapture begins to capture on a device.
func openCapture(device string, program []unix.SockFilter) (*capture, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("capturing on %s: %w", device, err)
	}
	// Protocol 0 receives nothing, until the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("capturing on %s: opening a packet socket (it needs CAP_NET_RAW): %w", device, err)
	}
	c := &capture{device: device, index: link.Index, fd: fd}
	if err := c.begin(program); err != nil {
		c.close()
		return nil, fmt.Errorf("capturing on %s: %w", device, err)
	}
	return c, nil
}

func (c *capture) begin(program []unix.SockFilter) error {
	all := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &all); err != nil {
		return fmt.Errorf("setting the filter: %w", err)
	}
	if unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer) != nil {
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer) // less is better than nothing
	}
	// Packets that leave are only given to those who want every protocol.
	everything := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: c.index}); err != nil {
		return fmt.Errorf("binding a packet socket: %w", err)
	}
	return nil
}

// drain hands over what has been captured since the last time. The packet is
// valid until take returns. An error means that the device is gone.
func (c *capture) drain(take func(packet []byte)) error {
	for range maxAtOnce {
		n, err := unix.Read(c.fd, c.buf[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN): // set down; it may come back
			continue
		case err != nil:
			return fmt.Errorf("reading what leaves by %s: %w", c.device, err)
		}
		take(c.buf[:n])
	}
	return nil
}

// lost is how many packets the kernel had no room for since the last call.
func (c *capture) lost() int64 {
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return int64(stats.Drops)
}

func (c *capture) close() { unix.Close(c.fd) }
