package main

import (
	"encoding/binary"
	"hash/fnv"
	"net"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// serveInternet starts what clients and resolvers find in the internet.
func serveInternet(g *ground, host netip.Addr) error {
	for port, serve := range map[int]func(*net.TCPConn){
		sinkPort: swallow, sourcePort: pour, shortPort: answerShortly,
	} {
		if err := serveTCP(port, greeted(serve)); err != nil {
			return err
		}
	}
	counted, err := boundUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), datagramPort))
	if err != nil {
		return err
	}
	g.sink.runs = make(map[uint64]*volley)
	go g.sink.serve(counted)
	asked, err := boundUDP(netip.AddrPortFrom(host, resolverPort)) // not on all, or it would answer from another one
	if err != nil {
		return err
	}
	go resolve(asked, host)
	return nil
}

// resolverPort is that of a resolver that costs little, so that a missed
// question costs what the router's resolver makes of it.
const resolverPort = 5300

// fresh is how many addresses the names have that begin with an f: they hardly
// ever share one.
const fresh = 1 << 20

// relayed is the address of the names that begin with an r, which leave through a
// node: as that of a direct name, too, it would be in no set.
var relayed = netip.AddrFrom4([4]byte{45, 15, 0, 1})

// resolve answers every question for an A record. What it answers is true
// enough for names of ours only.
func resolve(fd int, host netip.Addr) {
	runtime.LockOSThread()
	b := newBatchIO(fd, false)
	for {
		n, err := b.receive(unix.MSG_WAITFORONE)
		if err != nil {
			continue // interrupted
		}
		for i := range n {
			size := answer(&b.bufs[i], len(b.received(i)), host)
			b.iovs[i].SetLen(size)
		}
		for sent := 0; sent < n; {
			m, err := b.sendFrom(sent, n)
			if err != nil {
				break
			}
			sent += m
		}
	}
}

// answer makes a message with a question one with its answer, in place.
func answer(msg *[maxDatagram]byte, size int, host netip.Addr) int {
	const header = 12
	end := header
	for end < size && msg[end] != 0 {
		end += int(msg[end]) + 1
	}
	end += 5 // root, type, class
	if end > size {
		return header
	}
	isA := binary.BigEndian.Uint16(msg[end-4:]) == 1
	binary.BigEndian.PutUint16(msg[2:], 0x8180) // response, recursion desired and available
	clear(msg[6:header])                        // no other records: OPT is cut off
	if !isA {
		return end
	}
	msg[7] = 1
	switch msg[header+1] | 0x20 {
	case 'f':
		host = spreadAddr(msg[header:end])
	case 'r':
		host = relayed
	}
	record := append(msg[:end], 0xc0, header, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4) // 300 s
	return len(append(record, host.AsSlice()...))
}

// spreadAddr is one of some addresses for a name, the same for the same name.
func spreadAddr(name []byte) netip.Addr {
	h := fnv.New32a()
	h.Write(name)
	n := h.Sum32() % fresh
	return netip.AddrFrom4([4]byte{45, 16 | byte(n>>16), byte(n >> 8), byte(n)})
}
