package device

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ndmsg is struct ndmsg of linux/neighbour.h, and what messages about neighbours
// begin with.
type ndmsg struct {
	family byte
	link   int
	state  uint16
	flags  byte
}

const sizeofNdmsg = 12

// bytes are in the byte order of this machine.
func (m ndmsg) bytes() []byte {
	b := make([]byte, sizeofNdmsg)
	b[0], b[10] = m.family, m.flags
	binary.NativeEndian.PutUint32(b[4:], uint32(m.link))
	binary.NativeEndian.PutUint16(b[8:], m.state)
	return b
}

// entry is what the kernel tells of a neighbour.
type entry struct {
	addr  netip.Addr
	mac   []byte // empty: not known
	link  int
	state uint16 // NUD_ of linux/neighbour.h
	gone  bool
}

// parse reads a message about a neighbour; ok is false if it is about something
// else, such as an entry of a bridge.
func parse(kind uint16, msg []byte) (e entry, ok bool) {
	if kind != unix.RTM_NEWNEIGH && kind != unix.RTM_DELNEIGH || len(msg) < sizeofNdmsg {
		return entry{}, false
	}
	e = entry{
		link:  int(int32(binary.NativeEndian.Uint32(msg[4:]))),
		state: binary.NativeEndian.Uint16(msg[8:]),
		gone:  kind == unix.RTM_DELNEIGH,
	}
	for kind, value := range attributes(msg[sizeofNdmsg:]) {
		switch kind {
		case unix.NDA_DST:
			e.addr, ok = netip.AddrFromSlice(value)
		case unix.NDA_LLADDR:
			e.mac = value
		}
	}
	e.addr = e.addr.Unmap()
	return e, ok
}

// attributes gives types and values of the attributes of a message (netlink(7)), as
// far as they are whole.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) || !yield(binary.NativeEndian.Uint16(b[2:]), b[unix.SizeofRtAttr:n]) {
				return
			}
			padded := (n + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
			b = b[min(padded, len(b)):]
		}
	}
}

// attribute adds one to a message. Addresses need no padding.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, value...)
}

// listEntries gives the whole neighbour table.
func listEntries() ([]entry, error) {
	answers, err := ask(unix.RTM_GETNEIGH, unix.NLM_F_DUMP, ndmsg{}.bytes())
	var all []entry
	for _, msg := range answers {
		if e, ok := parse(unix.RTM_NEWNEIGH, msg); ok {
			all = append(all, e)
		}
	}
	return all, err
}

// entryOf gets one entry of the neighbour table (RTM_GETNEIGH without a dump,
// since Linux 5.0).
func entryOf(link int, addr netip.Addr) (entry, error) {
	question := ndmsg{family: familyOf(addr), link: link}
	answers, err := ask(unix.RTM_GETNEIGH, 0, attribute(question.bytes(), unix.NDA_DST, addr.AsSlice()))
	if err != nil {
		return entry{}, err
	}
	if len(answers) != 1 {
		return entry{}, fmt.Errorf("%d entries for %s", len(answers), addr)
	}
	e, ok := parse(unix.RTM_NEWNEIGH, answers[0])
	if !ok {
		return entry{}, fmt.Errorf("the entry for %s has no address", addr)
	}
	return e, nil
}

// solicit makes the kernel resolve an address as if a packet were to be sent
// there (linux/neighbour.h, NTF_USE).
func solicit(link int, addr netip.Addr) error {
	wanted := ndmsg{family: familyOf(addr), link: link, flags: unix.NTF_USE}
	_, err := ask(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, attribute(wanted.bytes(), unix.NDA_DST, addr.AsSlice()))
	return err
}

// routedTo is the interface through which addr is reached, 0 if by none, and
// whether it is reached without another router.
func routedTo(addr netip.Addr) (link int, direct bool) {
	question := make([]byte, unix.SizeofRtMsg) // struct rtmsg: family, length of the destination
	question[0], question[1] = familyOf(addr), byte(addr.BitLen())
	answers, err := ask(unix.RTM_GETROUTE, 0, attribute(question, unix.RTA_DST, addr.AsSlice()))
	if err != nil || len(answers) == 0 || len(answers[0]) < unix.SizeofRtMsg {
		return 0, false
	}
	direct = true
	for kind, value := range attributes(answers[0][unix.SizeofRtMsg:]) {
		switch {
		case kind == unix.RTA_OIF && len(value) == 4:
			link = int(binary.NativeEndian.Uint32(value))
		case kind == unix.RTA_GATEWAY || kind == unix.RTA_VIA:
			direct = false
		}
	}
	return link, direct
}

// hasNeighbours tells that an interface's hosts have hardware addresses that can
// be asked for.
func hasNeighbours(link int) bool {
	question := make([]byte, unix.SizeofIfInfomsg) // struct ifinfomsg: index at 4, flags at 8
	binary.NativeEndian.PutUint32(question[4:], uint32(link))
	answers, err := ask(unix.RTM_GETLINK, 0, question)
	if err != nil || len(answers) == 0 || len(answers[0]) < unix.SizeofIfInfomsg {
		return false
	}
	return binary.NativeEndian.Uint32(answers[0][8:])&(unix.IFF_NOARP|unix.IFF_LOOPBACK|unix.IFF_POINTOPOINT) == 0
}

func familyOf(addr netip.Addr) byte {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
