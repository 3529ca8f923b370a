package leaks

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
)

const (
	// recordLength is how many entries a Record keeps: two seconds of a thousand
	// questions a second, of which each has two.
	recordLength = 4096
	// attention is how long a Record goes on after it was last read.
	attention = 10 * time.Second
)

// Asked is an entry of a Record: that a name is about to be asked of an upstream,
// or, with a Server, that a question is about to be sent to it.
type Asked struct {
	Upstream  string         `json:"upstream"`
	Name      string         `json:"name"`
	Direct    bool           `json:"direct,omitempty"` // about to be asked: it leaves directly, for whom it is asked
	Type      uint16         `json:"type,omitempty"`
	Server    string         `json:"server,omitempty"` // as in the configuration; empty: about to be asked
	Scheme    string         `json:"scheme,omitempty"`
	Bootstrap bool           `json:"bootstrap,omitempty"` // the name is that of a server or of a node
	Local     netip.AddrPort `json:"local,omitzero"`
	Remote    netip.AddrPort `json:"remote,omitzero"`
	Network   string         `json:"network,omitempty"` // udp tcp
}

// Record is what the daemon asked whom, as long as somebody reads it. Its zero
// value is ready.
type Record struct {
	listening atomic.Bool

	mu    sync.Mutex // guards the fields below
	ring  []Asked    // by number, modulo its length
	next  uint64     // number of the next entry
	pause *time.Timer
}

// Listening says whether entries are of use to anybody.
func (r *Record) Listening() bool { return r.listening.Load() }

// Asking adds that a name is about to be asked of an upstream.
func (r *Record) Asking(upstreamName, name string, direct bool) {
	r.add(Asked{Upstream: upstreamName, Name: name, Direct: direct})
}

// Sent adds that a question is about to be sent.
func (r *Record) Sent(s upstream.Sent) {
	r.add(Asked{
		Upstream: s.Upstream, Name: s.Name, Type: s.Type, Server: s.Server, Scheme: s.Scheme, Bootstrap: s.Bootstrap,
		Local: s.Local, Remote: s.Remote, Network: s.Network,
	})
}

// Bootstrapped adds that the name of a node is about to be asked.
func (r *Record) Bootstrapped(host string, local, server netip.AddrPort) {
	if r.Listening() {
		r.add(Asked{Name: host, Server: server.String(), Scheme: "udp", Bootstrap: true, Local: local, Remote: server, Network: "udp"})
	}
}

func (r *Record) add(a Asked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ring == nil {
		return
	}
	r.ring[r.next%recordLength] = a
	r.next++
}

// Since gives the entries from a number on, of which the oldest may be missing,
// and the number to go on from. It makes the Record listen for a while.
func (r *Record) Since(number uint64) (entries []Asked, next uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ring == nil {
		r.ring = make([]Asked, recordLength)
		r.pause = time.AfterFunc(attention, r.rest)
		r.listening.Store(true)
		return nil, r.next
	}
	r.pause.Reset(attention)
	if number > r.next || r.next-number > recordLength {
		number = r.next - min(r.next, recordLength)
	}
	entries = make([]Asked, 0, r.next-number)
	for ; number < r.next; number++ {
		entries = append(entries, r.ring[number%recordLength])
	}
	return entries, r.next
}

// rest frees the memory that nobody reads.
func (r *Record) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listening.Store(false)
	r.ring = nil
}
