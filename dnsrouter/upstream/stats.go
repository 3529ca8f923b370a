package upstream

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// Stats are counts since New, and the servers as they are now.
type Stats struct {
	Questions int64 // asked by callers
	Merged    int64 // of these, answered together with an equal one
	Asked     int64 // asked of servers, hedges included
	Wrong     int64 // answers ignored: other id, question or malformed
	TCP       int64 // UDP questions asked again over TCP
	Busy      int64 // refused, because too many were under way
	Failed    int64 // without any answer
	Bootstrap int64 // asked of Config.Bootstrap; not counted above
	Flights   int   // under way
	Servers   []ServerStats
}

// ServerStats tells how one server does.
type ServerStats struct {
	Name     string        // as in the configuration: tls://dns.example
	RTT      time.Duration // smoothed; 0: not measured yet
	Failures int           // in a row
	Down     bool          // backed off: asked only if the others fail
}

// counters are what the parts of an Upstream count.
type counters struct {
	questions, merged, busy, asked, wrong, tcp, failed atomic.Int64
}

// Stats tells how the upstream does, its servers in the order of their names.
func (u *Upstream) Stats() Stats {
	c := &u.env.count
	s := Stats{
		Questions: c.questions.Load(), Merged: c.merged.Load(), Asked: c.asked.Load(), Wrong: c.wrong.Load(),
		TCP: c.tcp.Load(), Busy: c.busy.Load(), Failed: c.failed.Load(),
	}
	if u.boot != nil {
		s.Bootstrap = u.boot.servers.env.count.asked.Load()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Flights = len(u.flights)
	now := time.Now()
	for _, server := range u.servers {
		s.Servers = append(s.Servers, server.health.stats(server.name, now))
	}
	slices.SortFunc(s.Servers, func(a, b ServerStats) int { return cmp.Compare(a.Name, b.Name) })
	return s
}
