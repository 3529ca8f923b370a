package dnsrouter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/fairlead/fairlead/dnsrouter/fakeip"
)

// reals knows which real addresses the kernel has for fake ones: those of names
// that leave through an interface, which the kernel carries by itself.
type reals struct {
	pool *fakeip.Pool
	sink FakeSink

	mu sync.Mutex // guards the field below, and keeps the kernel's order
	of map[netip.Addr]standing
}

// standing is what a fake address stands for in the kernel.
type standing struct {
	name string
	real netip.Addr
	way  Way
}

func newReals(pool *fakeip.Pool, sink FakeSink) *reals {
	return &reals{pool: pool, sink: sink, of: make(map[netip.Addr]standing)}
}

// stands says whether the kernel leads the fake address of a name to one of its
// real addresses already.
func (r *reals) stands(fake netip.Addr, name string, addrs []netip.Addr, way Way) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.of[fake]
	return ok && s.name == name && s.way == way && slices.Contains(addrs, s.real)
}

// set has the kernel lead the fake address of a name to a real one. It stays
// with the one that it has for as long as that is among the answers, so that
// peers which compare addresses (IPsec) see the same one. With a way by a plan
// that is not current it would come behind judgeAgain, and is errOutdated.
func (r *reals) set(fake netip.Addr, name string, addrs []netip.Addr, way Way, current func() bool) error {
	if r.stands(fake, name, addrs, way) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !current() {
		return errOutdated
	}
	if err := r.sink.SetFake(fake, addrs[0], way); err != nil {
		return fmt.Errorf("leading %s to %s: %w", fake, addrs[0], err)
	}
	r.of[fake] = standing{name, addrs[0], way}
	return nil
}

// forget takes note that the fake addresses are the daemon's to carry.
func (r *reals) forget(fakes ...netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fake := range fakes {
		delete(r.of, fake)
	}
}

// judgeAgain gives to the daemon what the kernel may no longer carry by a new
// plan. What another way fits is asked for again first.
func (r *reals) judgeAgain(plan *Plan) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for fake, s := range r.of {
		if plan.fakeWay(s.name) == s.way {
			continue
		}
		if err := r.sink.SetFake(fake, netip.Addr{}, Relayed); err != nil {
			errs = append(errs, fmt.Errorf("relaying %s: %w", fake, err))
			continue
		}
		delete(r.of, fake)
	}
	return errors.Join(errs...)
}

// lost takes note that the table was made anew: the daemon carries every name.
func (r *reals) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.of)
}
