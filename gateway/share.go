package gateway

import (
	"container/list"
	"time"
)

const (
	// newFlowsPerSecond bounds how fast one client may open UDP flows, and
	// newFlowsBurst how many at once: enough for BitTorrent, little enough for
	// a scan not to be felt by the others.
	newFlowsPerSecond = 500
	newFlowsBurst     = 1000
	// looked is how many of a client's oldest flows are looked at for the one
	// that was idle longest.
	looked = 16
)

// share is what one client has of the UDP flows. Its fields are guarded by
// sessions.mu.
type share struct {
	flows *list.List // of *udpFlow, oldest first
	where map[*udpFlow]*list.Element

	pending int // of flows
	tokens  float64
	filled  time.Time
}

// admit makes a new flow and counts it against its client. Where the client
// has its quarter of all flows already, the one that was idle longest makes
// room. The caller holds sessions.mu; nil means that there is no room.
func (s *sessions) admit(key udpKey) *udpFlow {
	limits := s.g.cfg.Limits
	if s.pending >= limits.PendingUDP || len(s.flows) >= limits.UDP {
		return nil // before anything is kept of a sender that may be forged
	}
	sh := s.shares[key.client.Addr()]
	if sh == nil {
		sh = &share{flows: list.New(), where: make(map[*udpFlow]*list.Element), tokens: newFlowsBurst, filled: time.Now()}
		s.shares[key.client.Addr()] = sh
	}
	if !sh.take() || sh.pending >= limits.PendingUDP/2 {
		return nil
	}
	if sh.flows.Len() >= limits.UDP/4 {
		idlest := sh.idlest()
		go idlest.close(nil)
	}
	f := newUDPFlow(s, key)
	f.share = sh
	sh.where[f] = sh.flows.PushBack(f)
	s.flows[key] = f
	s.pending++
	sh.pending++
	return f
}

// forgetShares drops the shares of clients that are gone.
func (s *sessions) forgetShares() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for client, sh := range s.shares {
		if sh.flows.Len() == 0 && time.Since(sh.filled) > newFlowsBurst/newFlowsPerSecond*time.Second {
			delete(s.shares, client)
		}
	}
}

// take is a token bucket.
func (sh *share) take() bool {
	now := time.Now()
	sh.tokens = min(newFlowsBurst, sh.tokens+now.Sub(sh.filled).Seconds()*newFlowsPerSecond)
	sh.filled = now
	if sh.tokens < 1 {
		return false
	}
	sh.tokens--
	return true
}

// idlest gives, of the client's oldest flows, the one that was idle longest. It
// counts no longer, so that it is not chosen twice while it is being closed.
func (sh *share) idlest() *udpFlow {
	longest := sh.flows.Front()
	for e, n := longest.Next(), 1; e != nil && n < looked; e, n = e.Next(), n+1 {
		if e.Value.(*udpFlow).last.Load() < longest.Value.(*udpFlow).last.Load() {
			longest = e
		}
	}
	f := longest.Value.(*udpFlow)
	sh.drop(f)
	return f
}

func (sh *share) drop(f *udpFlow) {
	if e, ok := sh.where[f]; ok {
		sh.flows.Remove(e)
		delete(sh.where, f)
	}
}
