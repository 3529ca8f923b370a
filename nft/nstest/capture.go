package nstest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Capture keeps every frame that passes a device, in both directions, from
// Start to Close.
type Capture struct {
	where string
	file  *os.File // the packet socket
	mark  *marker
	done  chan struct{} // closed when the reader has ended

	mu      sync.Mutex // guards the fields below
	packets []Packet
	seen    uint64        // the last marker that came through
	lost    int           // frames the kernel had no room for
	changed chan struct{} // closed and renewed with each frame
	closed  bool
}

// captureBuffer holds some thousands of frames, more than pass while the reader
// waits for a processor. Without privilege in the first user namespace the
// kernel gives less; frames lost are told by Packets.
const captureBuffer = 16 << 20

// drainTimeout is how long a marker may take. It is passed on at once, unless
// the machine is badly overloaded.
const drainTimeout = 5 * time.Second

// Start begins to capture on a device of a namespace.
func Start(n *NS, dev string) (*Capture, error) {
	c := &Capture{
		where:   dev + " in " + n.name,
		done:    make(chan struct{}),
		changed: make(chan struct{}),
	}
	link, err := n.link(dev)
	if err != nil {
		return nil, err
	}
	index, mac := link.Attrs().Index, link.Attrs().HardwareAddr
	if err := n.Do(func() error { return c.open(index, mac) }); err != nil {
		return nil, fmt.Errorf("capturing on %s: %w", c.where, err)
	}
	go c.read()
	return c, nil
}

func (c *Capture) open(index int, mac net.HardwareAddr) error {
	fd, err := packetSocket(index, unix.ETH_P_ALL)
	if err != nil {
		return err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer)
	}
	c.file = os.NewFile(uintptr(fd), "packets of "+c.where)
	if c.mark, err = newMarker(index, mac); err != nil {
		c.file.Close()
	}
	return err
}

// Packets gives every frame that had left the device before the call, and those
// that had come in by then, in order. The error says that some are missing.
func (c *Capture) Packets() ([]Packet, error) {
	err := c.drain()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += c.drops()
	if c.lost > 0 {
		err = errors.Join(err, fmt.Errorf("capturing on %s: %d frames lost", c.where, c.lost))
	}
	return append([]Packet(nil), c.packets...), err
}

// Wait gives the first frame, from the start on, that match accepts.
func (c *Capture) Wait(ctx context.Context, match func(Packet) bool) (Packet, error) {
	for next := 0; ; {
		c.mu.Lock()
		fresh, changed := c.packets[next:], c.changed
		c.mu.Unlock()
		for _, p := range fresh {
			if match(p) {
				return p, nil
			}
		}
		next += len(fresh)
		select {
		case <-changed:
		case <-c.done:
			return Packet{}, fmt.Errorf("waiting for a frame on %s: capture has ended", c.where)
		case <-ctx.Done():
			return Packet{}, fmt.Errorf("waiting for a frame on %s: %w", c.where, ctx.Err())
		}
	}
}

// Close ends the capture; what came until then can still be had from Packets.
// Calling it again does nothing.
func (c *Capture) Close() error {
	c.drain() // a device that is gone has nothing left to drain
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.lost += c.drops()
	c.closed = true
	c.mu.Unlock()

	err := c.file.Close()
	<-c.done
	c.mark.close()
	return err
}

// drain sends a marker after all that was sent and waits until it was read.
func (c *Capture) drain() error {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil
	}
	number, err := c.mark.send()
	if err != nil {
		return fmt.Errorf("draining the capture on %s: %w", c.where, err)
	}
	timeout := time.NewTimer(drainTimeout)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		seen, changed := c.seen, c.changed
		c.mu.Unlock()
		if seen >= number {
			return nil
		}
		select {
		case <-changed:
		case <-c.done:
			return fmt.Errorf("draining the capture on %s: capture has ended", c.where)
		case <-timeout.C:
			return fmt.Errorf("draining the capture on %s: marker not seen within %v", c.where, drainTimeout)
		}
	}
}

// read is the capture's one goroutine.
func (c *Capture) read() {
	defer close(c.done)
	raw, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 256<<10)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return failed != unix.EAGAIN
		})
		switch {
		case err != nil:
			return // closed
		case failed == unix.ENETDOWN || failed == unix.EINTR:
			continue // the device was set down; it may come back
		case failed != nil:
			return
		}
		c.keep(buf[:n], from)
	}
}

func (c *Capture) keep(frame []byte, from unix.Sockaddr) {
	number, marked := c.mark.number(frame)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case marked:
		c.seen = max(c.seen, number)
	case isMarker(frame): // another capture's
		return
	default:
		link, _ := from.(*unix.SockaddrLinklayer)
		c.packets = append(c.packets, Packet{
			Time:     time.Now(),
			Outgoing: link != nil && link.Pkttype == unix.PACKET_OUTGOING,
			Frame:    bytes.Clone(frame),
		})
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// drops is how many frames the kernel could not queue since the last call
// (packet(7), PACKET_STATISTICS). The caller holds the lock.
func (c *Capture) drops() (lost int) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		if stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			lost = int(stats.Drops)
		}
	})
	return lost
}

// packetSocket opens a packet socket bound to a device; protocol 0 receives nothing.
func packetSocket(index int, protocol uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: index}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("binding a packet socket: %w", err)
	}
	return fd, nil
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
