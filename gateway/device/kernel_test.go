package device

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// neighbourOf is what the kernel says of one that is reachable.
func neighbourOf(addr, mac []byte) []byte {
	b := ndmsg{family: unix.AF_INET, link: 3, state: unix.NUD_REACHABLE}.bytes()
	for kind, value := range map[uint16][]byte{unix.NDA_DST: addr, unix.NDA_LLADDR: mac} {
		length := 4 + len(value)
		b = binary.NativeEndian.AppendUint16(b, uint16(length))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, value...)
		b = append(b, make([]byte, (4-length%4)%4)...)
	}
	return b
}

func FuzzNeighbours(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWNEIGH), neighbourOf([]byte{10, 0, 0, 1}, []byte{2, 0, 0, 0, 0, 1}))
	f.Add(uint16(unix.RTM_DELNEIGH), ndmsg{}.bytes())
	f.Add(uint16(unix.RTM_NEWNEIGH), append(ndmsg{}.bytes(), "\n\x0000000000"...)) // the padding is missing
	f.Fuzz(func(t *testing.T, kind uint16, msg []byte) {
		if e, ok := parse(kind, msg); ok && !e.addr.IsValid() {
			t.Errorf("parse = %+v, want an address in whatever is good", e)
		}
	})
}

func TestANeighbourOfTheBridgeIsNone(t *testing.T) {
	if e, ok := parse(unix.RTM_NEWNEIGH, ndmsg{family: unix.AF_BRIDGE, link: 3}.bytes()); ok {
		t.Errorf("an entry without an address is read as %+v, want it passed over", e)
	}
}

func TestALongHardwareAddressIsNotTakenForAnAddress(t *testing.T) {
	long := slices.Repeat([]byte{1}, 20) // of InfiniBand
	e, ok := parse(unix.RTM_NEWNEIGH, neighbourOf([]byte{10, 0, 0, 1}, long))
	if want := netip.AddrFrom4([4]byte{10, 0, 0, 1}); !ok || e.addr != want || len(e.mac) != 20 {
		t.Errorf("parse = %+v, %v, want the address %s and a hardware address of 20 bytes", e, ok, want)
	}
}
