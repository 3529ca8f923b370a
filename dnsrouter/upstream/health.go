package upstream

import (
	"slices"
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

	// A server's 95th percentile is that of its last sampled answers, looked up
	// after each sampledEvery of them.
	sampled      = 40
	sampledEvery = 8

	// failuresAllowed in a row put a server last for a time that doubles from
	// firstBackOff to maxBackOff.
	failuresAllowed = 3
	firstBackOff    = time.Second
	maxBackOff      = 10 * time.Second
)

// health is how quickly and how reliably a server answers.
type health struct {
	mu       sync.Mutex // guards the fields below
	answers  int
	recent   [sampled]time.Duration // how long the last answers took, in a ring
	p95      time.Duration          // of recent
	rtt      time.Duration          // smoothed
	deviance time.Duration          // smoothed distance from rtt
	failures int                    // in a row
	until    time.Time              // backed off
}

// answered smooths as RFC 6298 section 2 does for TCP, whose time-out stands in
// for the percentile of a server that has answered too seldom to tell.
func (h *health) answered(rtt time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures = 0
	if h.answers == 0 {
		h.rtt, h.deviance = rtt, rtt/2
	} else {
		h.deviance += ((h.rtt - rtt).Abs() - h.deviance) / 4
		h.rtt += (rtt - h.rtt) / 8
	}
	h.sample(rtt)
}

// overtaken counts a question that another server answered after this one had
// had its time. How long its answer would have taken nobody knows: longer. Left
// out, or taken for as long as that, the percentile could only ever shrink.
func (h *health) overtaken(after time.Duration, now time.Time) {
	h.mu.Lock()
	if h.answers > 0 {
		h.sample(after + after/2)
	}
	h.mu.Unlock()
	h.failed(now)
}

// sample renews the percentile. The caller holds the lock.
func (h *health) sample(took time.Duration) {
	h.recent[h.answers%sampled] = took
	h.answers++
	switch {
	case h.answers < sampled:
		h.p95 = h.rtt + 4*h.deviance
	case h.answers%sampledEvery == 0:
		sorted := h.recent
		slices.Sort(sorted[:])
		h.p95 = sorted[sampled*95/100-1]
	}
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
// it exceeds once in twenty times. A server that failed the last time is
// being probed and gets the least.
func (h *health) delay() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.failures > 0:
		return minDelay
	case h.answers == 0:
		return 3 * firstRTT
	}
	return max(minDelay, min(h.p95, maxDelay))
}

// standing is what servers are ranked by.
func (h *health) standing(now time.Time) (down bool, rtt time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rtt = firstRTT
	if h.answers > 0 {
		rtt = h.rtt
	}
	return h.failures >= failuresAllowed && now.Before(h.until), rtt
}
