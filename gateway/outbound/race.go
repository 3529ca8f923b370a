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
// when one before has failed, or has not answered within attemptDelay. The error
// is that of the last one to fail.
func race(ctx context.Context, s sockets, addrs []netip.Addr, port uint16) (net.Conn, error) {
	if len(addrs) == 1 {
		return s.dialTCP(ctx, netip.AddrPortFrom(addrs[0].Unmap(), port))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	type attempt struct {
		conn net.Conn
		err  error
	}
	attempts := make(chan attempt)
	connect := func(to netip.AddrPort) {
		c, err := s.dialTCP(ctx, to)
		select {
		case attempts <- attempt{c, err}:
		case <-ctx.Done(): // another one won
			if err == nil {
				c.Close()
			}
		}
	}

	var last error
	left := addrs
	delay := time.NewTimer(0)
	defer delay.Stop()
	for failed := 0; failed < len(addrs); {
		select {
		case <-delay.C:
		case a := <-attempts:
			if a.err == nil {
				return a.conn, nil
			}
			last = a.err
			failed++
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if len(left) > 0 {
			go connect(netip.AddrPortFrom(left[0].Unmap(), port))
			left = left[1:]
			delay.Reset(attemptDelay)
		}
	}
	return nil, last
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
