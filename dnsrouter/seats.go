package dnsrouter

import (
	"net"
	"slices"
	"sync"

	"github.com/fairlead/fairlead/gateway/policy"
)

// seats are the connections of clients, of which there are at most maxTCP, and
// maxTCPEach of one device. A new one takes the seat of the one that has waited
// for its client the longest.
type seats struct {
	mu    sync.Mutex // guards the field below, and seat.busy
	taken []*seat    // who waits for the client the longest comes first
}

// seat is a client's connection.
type seat struct {
	net.Conn
	device policy.DeviceKey
	busy   int // answers that its client waits for
}

// enter gives a connection a seat: a free one, else that of a connection of the
// same device, or, where the device has not its share yet, of the one that has
// the most. It is nil if all of those wait for answers.
func (s *seats) enter(c net.Conn, device policy.DeviceKey) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := make(map[policy.DeviceKey]int)
	most := device
	for _, other := range s.taken {
		if count[other.device]++; count[other.device] > count[most] {
			most = other.device
		}
	}
	switch {
	case count[device] >= maxTCPEach:
		most = device
		fallthrough
	case len(s.taken) >= maxTCP:
		if !s.vacate(most) {
			return nil
		}
	}
	mine := &seat{Conn: c, device: device}
	s.taken = append(s.taken, mine)
	return mine
}

// vacate ends the connection of a device that has waited for it the longest.
// The caller holds the lock.
func (s *seats) vacate(device policy.DeviceKey) bool {
	i := slices.IndexFunc(s.taken, func(other *seat) bool { return other.device == device && other.busy == 0 })
	if i < 0 {
		return false
	}
	s.taken[i].Close()
	s.taken = slices.Delete(s.taken, i, i+1)
	return true
}

// serve takes note that the client waits for one more answer, or, with busy
// false, that it has one; with the last of them the connection waits for its
// client.
func (s *seats) serve(mine *seat, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if busy {
		mine.busy++
		return
	}
	mine.busy--
	if i := slices.Index(s.taken, mine); i >= 0 && mine.busy == 0 {
		s.taken = append(slices.Delete(s.taken, i, i+1), mine)
	}
}

func (s *seats) leave(mine *seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.taken, mine); i >= 0 {
		s.taken = slices.Delete(s.taken, i, i+1)
	}
}
