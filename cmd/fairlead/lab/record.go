package lab

import (
	"net/netip"
	"sync"
	"time"
)

// Query is a question as a resolver got it.
type Query struct {
	Time    time.Time
	Network string // udp, tcp or tls
	From    netip.AddrPort
	Server  netip.AddrPort // the address asked
	Name    string         // lower-case, without trailing dot
	Type    uint16
	Raw     []byte // the whole message
}

// Visit is what a client asked the node for.
type Visit struct {
	Time    time.Time
	Network string // tcp or udp
	From    netip.AddrPort
	Target  string // host:port, the host a name or an address
}

// record is a log that grows.
type record[T any] struct {
	mu      sync.Mutex // guards the field below
	entries []T
}

func (r *record[T]) add(entry T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, entry)
}

func (r *record[T]) all() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]T(nil), r.entries...)
}
