package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

var (
	errNoResolver = errors.New("there is no resolver")
	errNoAddress  = errors.New("it has no address")
)

// lookup resolves host by r, in the order in which race should try.
func lookup(ctx context.Context, r Resolver, host string) ([]netip.Addr, error) {
	if r == nil {
		return nil, fmt.Errorf("resolving %s: %w", host, errNoResolver)
	}
	addrs, err := r.LookupHost(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", host, err)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("resolving %s: %w", host, errNoAddress)
	}
	return interleave(addrs), nil
}

// attemptDelay is the Connection Attempt Delay of RFC 8305 section 5.
const attemptDelay = 250 * time.Millisecond

// race connects to the first of addrs that answers. The next address is tried
// when the one before has failed, or has not answered within attemptDelay. The
// error is that of the first address.
func race(ctx context.Context, s sockets, addrs []netip.Addr, port uint16) (net.Conn, error) {
	if len(addrs) == 1 {
		return s.dialTCP(ctx, netip.AddrPortFrom(addrs[0].Unmap(), port))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	type attempt struct {
		index int
		conn  net.Conn
		err   error
	}
	results := make(chan attempt)
	pending, next := 0, 0
	start := func() {
		index, to := next, netip.AddrPortFrom(addrs[next].Unmap(), port)
		next++
		pending++
		go func() {
			c, err := s.dialTCP(ctx, to)
			select {
			case results <- attempt{index, c, err}:
			case <-ctx.Done():
				if c != nil {
					c.Close()
				}
			}
		}()
	}

	var first error
	delay := time.NewTimer(attemptDelay)
	defer delay.Stop()
	for start(); pending > 0; {
		select {
		case a := <-results:
			pending--
			if a.err == nil {
				return a.conn, nil
			}
			if a.index == 0 {
				first = a.err
			}
		case <-delay.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if next < len(addrs) {
			start()
			delay.Reset(attemptDelay)
		}
	}
	return nil, first
}

// interleave orders addresses so that families alternate, beginning with the
// family of the first one (RFC 8305 section 4).
func interleave(addrs []netip.Addr) []netip.Addr {
	var same, other []netip.Addr
	for _, a := range addrs {
		if a.Unmap().Is4() == addrs[0].Unmap().Is4() {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	mixed := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(same), len(other)) {
		mixed = append(mixed, same[min(i, len(same)):min(i+1, len(same))]...)
		mixed = append(mixed, other[min(i, len(other)):min(i+1, len(other))]...)
	}
	return mixed
}
