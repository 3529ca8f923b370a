package nft

import (
	"net/netip"
	"sync"
)

// gathering collects the fake addresses that several callers add at the same
// time into one transaction: in a flood of new names each transaction carries
// what came in while the one before it was under way.
type gathering struct {
	mu   sync.Mutex // guards the field below
	open *crowd     // whoever comes now joins it; nil: nobody waits
}

// crowd is the callers that one transaction is for.
type crowd struct {
	pairs [][2]netip.Addr
	done  chan struct{} // closed when err is set
	err   error
}

// join adds a pair to the crowd that waits, and says whether it is the first
// of it, who commits for all.
func (g *gathering) join(pair [2]netip.Addr) (c *crowd, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = &crowd{done: make(chan struct{})}
		first = true
	}
	g.open.pairs = append(g.open.pairs, pair)
	return g.open, first
}

// shut lets nobody join any more.
func (g *gathering) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = nil
}

// AddFake has new flows to a pair of fake addresses relayed instead of refused.
// Either may be invalid: then there is none of that family. Known ones are
// fine, whatever they lead to. Simultaneous calls share a transaction, and its error.
func (t *Table) AddFake(v4, v6 netip.Addr) error {
	c, first := t.gathering.join([2]netip.Addr{v4, v6})
	if !first {
		<-c.done
		return c.err
	}
	t.mu.Lock() // while this waits, others join
	t.gathering.shut()
	c.err = t.addFakes(c.pairs)
	t.mu.Unlock()
	close(c.done)
	return c.err
}
