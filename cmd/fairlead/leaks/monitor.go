package leaks

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often captured packets are looked at. They are read as
	// they have gathered: to be woken by each would cost more than to read it.
	lookEvery = 250 * time.Millisecond
	// followEvery is how often the devices are listed anew.
	followEvery = 2 * time.Second
)

// Config is what a Monitor is made of. Every field but Found is needed.
type Config struct {
	// Devices lists those that lead to the internet.
	Devices func() ([]string, error)
	// Rules gives the rules as they are now.
	Rules func() *Rules
	// Record reads the daemon's record, as Record.Since does; an error means that
	// there is no daemon.
	Record func(since uint64) (entries []Asked, next uint64, err error)
	// Who tells who sent a packet, before it was translated.
	Who func(proto uint8, src, dst netip.AddrPort) Sender
	// Found is called for each finding.
	Found func(Finding)
}

// Monitor captures what leaves, and sorts it.
type Monitor struct {
	cfg      Config
	judge    judge
	streams  streams
	captures []*capture
	program  []unix.SockFilter
	ports    []uint16 // that the program was made for
	next     uint64   // of the record
	waiting  []packet

	mu     sync.Mutex // guards the field below
	report Report
}

// NewMonitor returns a Monitor that has not begun to watch.
func NewMonitor(cfg Config) *Monitor {
	return &Monitor{cfg: cfg, judge: judge{who: cfg.Who, ours: make(map[ends]*sent), asking: make(map[question]time.Time)}, report: Report{Since: time.Now(), Leaks: []Entry{}}}
}

// Serve watches until ctx ends. ready is called when the devices of that time are
// watched; it may be nil. An error means that none can be.
func (m *Monitor) Serve(ctx context.Context, ready func()) error {
	defer m.closeAll()
	m.read(time.Now()) // from here on the daemon keeps a record
	if err := m.follow(); err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	look, follow := time.NewTicker(lookEvery), time.NewTicker(followEvery)
	defer look.Stop()
	defer follow.Stop()
	for {
		select {
		case <-ctx.Done():
			m.look(time.Now())
			return nil
		case now := <-look.C:
			m.look(now)
		case <-follow.C:
			_ = m.follow() // what cannot be watched now is tried again
		}
	}
}

// Report gives what has been seen so far.
func (m *Monitor) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.report
	r.Leaks, r.Devices = slices.Clone(r.Leaks), slices.Clone(r.Devices)
	return r
}

// look sorts what has gathered. Packets are read before the record: what the
// daemon sent is in its record before it leaves.
func (m *Monitor) look(now time.Time) {
	for _, c := range m.captures {
		_ = c.drain(func(b []byte) { m.take(b, now) }) // a device that is gone is missed by follow
	}
	m.read(now)
	for _, p := range m.waiting {
		m.sort(p.Flow)
	}
	clear(m.waiting)
	m.waiting = m.waiting[:0]
	m.judge.forget(now)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Unseen = m.judge.unseen
	for _, c := range m.captures {
		m.report.Lost += c.lost()
	}
}

// take keeps a packet until the record is read. Its bytes are the capture's.
func (m *Monitor) take(b []byte, now time.Time) {
	p, ok := decode(b, now)
	if !ok {
		return
	}
	if p.Proto == UDP && p.Dst.Port() == portDoT && isLaterQUIC(p.Data) {
		return // the connection's beginning was seen
	}
	if p.Proto == TCP {
		if p.Flow, ok = m.streams.add(p); !ok {
			return
		}
	}
	if len(p.Data) > 0 {
		p.Data = slices.Clone(p.Data)
		m.waiting = append(m.waiting, p)
	}
}

// read takes over what the daemon has asked, and its rules.
func (m *Monitor) read(now time.Time) {
	m.judge.rules = m.cfg.Rules()
	entries, next, err := m.cfg.Record(m.next)
	m.judge.alive, m.next = err == nil, next
	for _, a := range entries {
		if f, ok := m.judge.learn(a, now); ok {
			m.found(f)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Fairlead = m.judge.alive
}

// sort judges what was captured.
func (m *Monitor) sort(f Flow) {
	s, ours := m.judge.own(f)
	switch {
	case slices.Contains(m.judge.rules.Nodes, f.Dst):
		return
	case ours && s.encrypted: // the record told
		return
	}
	m.judge.known = false
	var all []Finding
	if slices.Contains(m.judge.rules.Plain, f.Dst) {
		all = Plain(f, m.judge.plain)
	} else {
		all, _ = Sort(f, m.judge.plain)
	}
	for _, found := range all {
		m.found(m.attribute(found, ours))
	}
}

// attribute adds who sent a message that is not the daemon's. What is wrong in
// another way than by its name is the router's own business, if it is the router's.
func (m *Monitor) attribute(f Finding, ours bool) Finding {
	if ours {
		return f
	}
	by := m.judge.sender
	if !m.judge.known {
		by = m.cfg.Who(f.Proto, f.Src, f.Dst)
		f.Reason += ", from " + by.String()
		if f.Way == Leak && by.Router && m.judge.alive && !m.judge.rules.Router {
			f.Way = Router
		}
	}
	f.Sender = by.Device
	return f
}

func (m *Monitor) found(f Finding) {
	m.mu.Lock()
	m.report.add(f)
	m.mu.Unlock()
	if m.cfg.Found != nil {
		m.cfg.Found(f)
	}
}
