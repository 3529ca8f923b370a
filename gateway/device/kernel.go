package device

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The neighbour table is read by the layer beneath the library's own functions:
// those come with a reader for each kind of interface that Linux has, which takes
// a tenth of a megabyte of flash.

// ndmsg is struct ndmsg of linux/neighbour.h, and what messages about neighbours
// begin with.
type ndmsg struct {
	family byte
	link   int
	state  uint16
	flags  byte
}

const sizeofNdmsg = 12

// Len is what a request needs to know of its parts.
func (m ndmsg) Len() int { return sizeofNdmsg }

// Serialize writes it in the byte order of this machine.
func (m ndmsg) Serialize() []byte {
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
// far as they are whole. The library's reader panics when the last one lacks its
// padding.
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

// listEntries gives the whole neighbour table.
func listEntries() ([]entry, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	request.AddData(ndmsg{})
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
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
	request := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	request.AddData(ndmsg{family: familyOf(addr), link: link})
	request.AddData(nl.NewRtAttr(unix.NDA_DST, addr.AsSlice()))
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
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
	request := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	request.AddData(ndmsg{family: familyOf(addr), link: link, flags: unix.NTF_USE})
	request.AddData(nl.NewRtAttr(unix.NDA_DST, addr.AsSlice()))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// routedTo is the interface through which addr is reached, 0 if by none, and
// whether it is reached without another router.
func routedTo(addr netip.Addr) (link int, direct bool) {
	request := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	question := nl.RtMsg{}
	question.Family, question.Dst_len = familyOf(addr), uint8(addr.BitLen())
	request.AddData(&question)
	request.AddData(nl.NewRtAttr(unix.RTA_DST, addr.AsSlice()))
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
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
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	question := nl.NewIfInfomsg(unix.AF_UNSPEC)
	question.Index = int32(link)
	request.AddData(question)
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil || len(answers) == 0 || len(answers[0]) < unix.SizeofIfInfomsg {
		return false
	}
	return nl.DeserializeIfInfomsg(answers[0]).Flags&(unix.IFF_NOARP|unix.IFF_LOOPBACK|unix.IFF_POINTOPOINT) == 0
}

// subscribe gives each event of the neighbour table to tell, until receiving
// fails: the kernel drops events when nobody reads in time. Close ends it.
func subscribe() (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_NEIGH)
	if err != nil {
		return nil, err
	}
	if err := s.SetReceiveBufferSize(receiveBuffer, false); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// receive gives the next events.
func receive(s *nl.NetlinkSocket) ([]entry, error) {
	messages, from, err := s.Receive()
	if err != nil {
		return nil, err
	}
	if from.Pid != nl.PidKernel {
		return nil, nil // anybody may send to a netlink socket
	}
	var all []entry
	for _, m := range messages {
		if m.Header.Type == unix.NLMSG_ERROR {
			return nil, errors.New("the kernel tells of an error")
		}
		if e, ok := parse(m.Header.Type, m.Data); ok {
			all = append(all, e)
		}
	}
	return all, nil
}

func familyOf(addr netip.Addr) byte {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
