package dnsrouter

import (
	"net/netip"
	"sync"
)

const (
	// maxInFlight and maxInFlightEach bound the questions that wait for an
	// upstream, of all clients and of one. Answers that need no upstream are
	// not counted, so a dead one never delays them.
	maxInFlight     = 512
	maxInFlightEach = 128
	// maxWaiting and maxWaitingEach bound the questions over UDP that wait for
	// anything at all. Beyond them they are lost, as in any full queue, so a
	// flood of one client's questions does not lose those of others.
	maxWaiting     = 1024
	maxWaitingEach = 256
)

// places are a bounded number of places, of which one client has a share only.
type places struct {
	most, each int

	mu  sync.Mutex // guards the fields below
	all int
	of  map[netip.Addr]int
}

func newPlaces(most, each int) *places {
	return &places{most: most, each: each, of: make(map[netip.Addr]int)}
}

func (p *places) enter(client netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= p.most || p.of[client] >= p.each {
		return false
	}
	p.all++
	p.of[client]++
	return true
}

func (p *places) leave(client netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.of[client]--; p.of[client] == 0 {
		delete(p.of, client)
	}
}
