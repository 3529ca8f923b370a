package dnsrouter

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/fakeip"
)

// BlockSink is told of whole blocks of fake addresses, /24 and /120, before names
// get them, and to forget all of some blocks but what names have got. Which they
// are it asks when it can be told nothing else.
type BlockSink interface {
	AddFakeBlock(v4, v6 netip.Prefix) error
	DelFakeBlocks(which func() (blocks [][2]netip.Prefix, used [][2]netip.Addr)) error
}

const (
	// streamNames new names within streamTime are a stream: more than a page has,
	// so that no address is told ahead in a household that just surfs.
	streamNames = 64
	streamTime  = time.Second
	// fewReserved is when the next block is told: the transaction is done by the
	// time that so many names more have come.
	fewReserved = fakeip.BlockSlots / 2
	// reservedTime is how long after the last such transaction the kernel keeps the
	// addresses that no name has got.
	reservedTime = 2 * time.Second
)

// stream notices that new names come in a stream, each of which would wait for a
// transaction of its own.
type stream struct {
	short chan struct{} // it is, and few addresses are reserved

	mu    sync.Mutex // guards the fields below
	began time.Time
	names int // since then
}

func newStream() *stream { return &stream{short: make(chan struct{}, 1)} }

// note counts a name that is about to get an address, when so many are reserved.
func (s *stream) note(reserved int, now time.Time) {
	if !s.runs(now) || reserved > fewReserved {
		return
	}
	select {
	case s.short <- struct{}{}:
	default: // it is known
	}
}

func (s *stream) runs(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.began) >= streamTime {
		s.began, s.names = now, 0
	}
	s.names++
	return s.names >= streamNames
}

// TellAhead has the kernel know the fake addresses that the next new names will
// get, for as long as those come in a stream, until ctx ends: such names are
// answered as quickly as known ones. Flows to an address that no name has got yet
// are then refused by the daemon in place of the kernel.
func (r *Router) TellAhead(ctx context.Context) error {
	over := time.NewTimer(reservedTime)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.stream.short:
			r.reserve()
			over.Reset(reservedTime)
		case <-over.C:
			r.unreserve()
		}
	}
}

// reserve has the kernel know addresses that no name has. If it cannot be told,
// names are told one by one, as ever.
func (r *Router) reserve() {
	if r.deps.Pool.Stats().Reserved > fewReserved { // done since it was noticed
		return
	}
	block, ok := r.deps.Pool.Reserve()
	if !ok {
		return
	}
	if err := r.deps.Blocks.AddFakeBlock(r.deps.Pool.Block(block)); err != nil {
		r.log.Debug("telling the kernel of fake addresses ahead", "err", err)
		return
	}
	r.deps.Pool.ToldBlock(block)
}

// unreserve has the kernel refuse again what no name has got.
func (r *Router) unreserve() {
	if r.deps.Pool.Stats().Reserved == 0 {
		return
	}
	err := r.deps.Blocks.DelFakeBlocks(func() (blocks [][2]netip.Prefix, used [][2]netip.Addr) {
		firsts, slots := r.deps.Pool.Unreserve()
		for _, first := range firsts {
			v4, v6 := r.deps.Pool.Block(first)
			blocks = append(blocks, [2]netip.Prefix{v4, v6})
		}
		for _, s := range slots {
			v4, v6 := r.deps.Pool.Addrs(s)
			used = append(used, [2]netip.Addr{v4, v6})
		}
		return blocks, used
	})
	if err != nil {
		r.log.Debug("taking fake addresses back that no name got", "err", err)
	}
}
