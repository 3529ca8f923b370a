package outbound

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	tryTimeout = 2 * time.Second // of one server

	// siblingWait is how long the addresses of one family wait for those of the
	// other (RFC 8305 section 3 has 50 ms; this is asked once per TTL).
	siblingWait = 250 * time.Millisecond

	minKept = 10 * time.Second // addresses, whatever their TTL
	maxKept = time.Hour

	// staleWait is how long a dial that has old addresses waits for new ones.
	staleWait = time.Second

	// retryAfter is how long stale addresses serve before the servers are asked
	// again, so that dead servers delay one dial and not each.
	retryAfter = 30 * time.Second
)

// Bootstrap resolves the names of nodes over plain UDP to fixed servers. Old
// addresses outlive their TTL for as long as no server answers.
type Bootstrap struct {
	servers func() []netip.AddrPort
	sockets sockets
	asked   func(host string, local, server netip.AddrPort)

	mu    sync.Mutex // guards the field below
	names map[string]*name
}

// A name is what is known of a host.
type name struct {
	addrs   []netip.Addr  // nil if it was never resolved
	until   time.Time     // when the servers have to be asked again
	pending chan struct{} // closed when they have been; nil while they are not asked
	err     error         // of the last time they were asked
}

// NewBootstrap returns a resolver that asks servers in their order, as they are
// at that time, over sockets that carry mark as in NewDirect.
func NewBootstrap(servers func() []netip.AddrPort, mark uint32) *Bootstrap {
	return &Bootstrap{servers: servers, sockets: sockets{mark: mark}, names: make(map[string]*name)}
}

// Tell has asked called before each question is sent, from local to server. It
// must be called before the first look-up.
func (r *Bootstrap) Tell(asked func(host string, local, server netip.AddrPort)) { r.asked = asked }

// LookupHost gives the addresses of host, asking the servers if it is not known
// or its time is over. Callers at the same time share one question.
func (r *Bootstrap) LookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	r.mu.Lock()
	n := r.names[host]
	if n == nil {
		n = &name{}
		r.names[host] = n
	}
	if n.addrs != nil && time.Now().Before(n.until) {
		defer r.mu.Unlock()
		return slices.Clone(n.addrs), nil
	}
	if n.pending == nil {
		n.pending = make(chan struct{})
		go r.refresh(n, host)
	}
	pending := n.pending
	if n.addrs != nil {
		stale, cancel := context.WithTimeout(ctx, staleWait)
		defer cancel()
		ctx = stale
	}
	r.mu.Unlock()

	select {
	case <-pending:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.addrs != nil {
		return slices.Clone(n.addrs), nil
	}
	return nil, cmp.Or(context.Cause(ctx), n.err)
}

// refresh asks the servers and wakes those who wait for n. It is bounded by its
// own time and not by a caller's, because they share it.
func (r *Bootstrap) refresh(n *name, host string) {
	addrs, ttl, err := r.ask(context.Background(), host)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.err = err; err == nil {
		n.addrs, n.until = addrs, time.Now().Add(ttl)
	} else {
		n.until = time.Now().Add(retryAfter)
	}
	close(n.pending)
	n.pending = nil
}

// ask gives what the first server says that has an address.
func (r *Bootstrap) ask(ctx context.Context, host string) (addrs []netip.Addr, ttl time.Duration, err error) {
	err = errors.New("no bootstrap server is given")
	for _, server := range r.servers() {
		if addrs, ttl, err = r.askServer(ctx, server, host); err == nil {
			return addrs, ttl, nil
		}
		err = fmt.Errorf("asking %s: %w", server, err)
	}
	return nil, 0, err
}

// askServer asks one server for both families at once.
func (r *Bootstrap) askServer(ctx context.Context, server netip.AddrPort, host string) ([]netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	type result struct {
		addrs []netip.Addr
		ttl   time.Duration
		err   error
	}
	kinds := [...]uint16{dnsAAAA, dnsA}
	results := make(chan result, len(kinds))
	for _, kind := range kinds {
		go func() {
			addrs, ttl, err := r.query(ctx, server, host, kind)
			results <- result{addrs, ttl, err}
		}()
	}

	all := result{ttl: maxKept, err: errNoAddress}
	for range kinds {
		one := <-results // after cancel at the latest
		if one.err != nil {
			all.err = one.err
			continue
		}
		if len(one.addrs) > 0 {
			all.addrs = append(all.addrs, one.addrs...)
			all.ttl = min(all.ttl, one.ttl)
			defer time.AfterFunc(siblingWait, cancel).Stop()
		}
	}
	if len(all.addrs) > 0 {
		return all.addrs, all.ttl, nil
	}
	return nil, 0, all.err
}

// query asks for one type, from a random port and with a random id, and reads
// until the answer is to the question.
func (r *Bootstrap) query(ctx context.Context, server netip.AddrPort, host string, kind uint16) ([]netip.Addr, time.Duration, error) {
	var id [2]byte
	rand.Read(id[:])
	query, err := buildQuery(binary.BigEndian.Uint16(id[:]), host, kind)
	if err != nil {
		return nil, 0, err
	}
	c, err := r.sockets.dialUDP(ctx, server)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	if local, ok := c.LocalAddr().(*net.UDPAddr); ok && r.asked != nil {
		r.asked(host, local.AddrPort(), server)
	}
	if _, err := c.Write(query); err != nil {
		return nil, 0, err
	}
	answer := make([]byte, maxMessage)
	for {
		n, err := c.Read(answer)
		if err != nil {
			return nil, 0, err
		}
		addrs, ttl, err := parseAnswer(query, answer[:n], kind)
		if !errors.Is(err, errNotOurs) {
			return addrs, ttl, err
		}
	}
}
