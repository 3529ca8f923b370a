package upstream

import (
	"sync"
	"time"
)

const (
	// firstRTT is assumed of a server that was not asked yet.
	firstRTT = 100 * time.Millisecond

	// A server gets at least minDelay before the next one is asked, too, so that
	// jitter does not double the questions, and at most maxDelay, so that a
	// client does not wait for long.
	minDelay = 50 * time.Millisecond
	maxDelay = time.Second

	// failuresAllowed in a row put a server last for a time that doubles from
	// firstBackOff to maxBackOff.
	failuresAllowed = 3
	firstBackOff    = time.Second
	maxBackOff      = 10 * time.Second
)

// health is how quickly and how reliably a server answers.
type health struct {
	mu       sync.Mutex // guards the fields below
	measured bool
	rtt      time.Duration // smoothed
	deviance time.Duration // smoothed distance from rtt
	failures int           // in a row
	until    time.Time     // backed off
}

// answered smooths as RFC 6298 section 2 does for TCP.
func (h *health) answered(rtt time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures = 0
	if !h.measured {
		h.measured, h.rtt, h.deviance = true, rtt, rtt/2
		return
	}
	h.deviance += ((h.rtt - rtt).Abs() - h.deviance) / 4
	h.rtt += (rtt - h.rtt) / 8
}

func (h *health) failed(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures++
	if excess := h.failures - failuresAllowed; excess >= 0 {
		h.until = now.Add(min(firstBackOff<<min(excess, 10), maxBackOff))
	}
}

// delay is how long the server may take before the next one is asked, too: what
// it exceeds once in twenty times or less. A server that failed the last time is
// being probed and gets the least.
func (h *health) delay() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.failures > 0:
		return minDelay
	case !h.measured:
		return 3 * firstRTT
	}
	return max(minDelay, min(h.rtt+4*h.deviance, maxDelay))
}

// standing is what servers are ranked by.
func (h *health) standing(now time.Time) (down bool, rtt time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rtt = firstRTT
	if h.measured {
		rtt = h.rtt
	}
	return h.failures >= failuresAllowed && now.Before(h.until), rtt
}

func (h *health) stats(name string, now time.Time) ServerStats {
	down, _ := h.standing(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	return ServerStats{Name: name, RTT: h.rtt, Failures: h.failures, Down: down}
}
