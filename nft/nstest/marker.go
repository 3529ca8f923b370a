package nstest

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// marker sends numbered frames out of a device. A packet socket sees them
// behind everything that left before, so one that was read says that all
// before it was.
type marker struct {
	header []byte // Ethernet header, magic, and which capture's it is

	mu   sync.Mutex // guards the fields below
	fd   int        // -1 once closed
	last uint64
}

// etherExperimental is the local experimental EtherType 1 (IEEE 802): no
// receiver knows it.
const etherExperimental = 0x88b5

const (
	markMagic  = "fairlead drain "
	markMagicA = 14 // where the magic begins
	markID     = 8  // length of a capture's random id
)

func newMarker(index int, mac net.HardwareAddr) (*marker, error) {
	// A second socket: a packet socket does not see what it sends itself.
	fd, err := packetSocket(index, 0)
	if err != nil {
		return nil, err
	}
	var address [6]byte
	copy(address[:], mac)
	// To itself: the device at the other end takes it for someone else's.
	header := append(address[:], address[:]...)
	header = binary.BigEndian.AppendUint16(header, etherExperimental)
	header = append(header, markMagic...)
	id := make([]byte, markID)
	rand.Read(id)
	return &marker{header: append(header, id...), fd: fd}, nil
}

// send sends the next marker and gives its number.
func (m *marker) send() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	_, err := unix.Write(m.fd, binary.BigEndian.AppendUint64(bytes.Clone(m.header), m.last))
	return m.last, err
}

// number is that of one of our own markers.
func (m *marker) number(frame []byte) (uint64, bool) {
	if !bytes.HasPrefix(frame, m.header) || len(frame) < len(m.header)+8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(frame[len(m.header):]), true
}

func (m *marker) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd >= 0 {
		unix.Close(m.fd)
		m.fd = -1
	}
}

// isMarker tells any capture's marker.
func isMarker(frame []byte) bool {
	return len(frame) > markMagicA && bytes.HasPrefix(frame[markMagicA:], []byte(markMagic))
}
