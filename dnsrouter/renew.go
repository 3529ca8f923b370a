package dnsrouter

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// maxRenewals bounds the answers that are renewed at once. Beyond it old ones
// are given until they may not be.
const maxRenewals = 64

// renewals are the answers that are being asked for again while clients have
// the old ones.
type renewals struct {
	mu  sync.Mutex // guards the field below
	now map[string]*renewal
}

// renewal is one of them.
type renewal struct {
	done chan struct{} // closed when the fields below are set

	answer wire.Scrubbed
	err    error
}

func newRenewals() *renewals { return &renewals{now: make(map[string]*renewal)} }

// enter gives the renewal under a key; first tells the one who has to see to
// it. There is none if there are too many.
func (r *renewals) enter(key string) (n *renewal, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.now[key]; n != nil {
		return n, false
	}
	if len(r.now) >= maxRenewals {
		return nil, false
	}
	n = &renewal{done: make(chan struct{})}
	r.now[key] = n
	return n, true
}

func (r *renewals) leave(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.now, key)
}

// renew asks the question's own upstream again and keeps its answer, while
// nobody has to wait for it; nil if that is too much now.
func (r *Router) renew(ctx context.Context, plan *running, q *question, src source) *renewal {
	k := q.cacheKey(q.view())
	key := string(append(binary.BigEndian.AppendUint16([]byte{byte(k.View >> 8), byte(k.View), k.Flags}, k.Type), k.Name...))
	n, first := plan.renewing.enter(key)
	if !first {
		return n
	}
	again := &question{Query: q.Query, device: q.device, client: q.client, stranger: q.stranger, tasks: q.tasks}
	again.name = viewOf(again.Name())
	q.spawn(func() {
		defer plan.renewing.leave(key)
		defer close(n.done)
		n.answer, n.err = r.ask(ctx, plan, again, src)
	})
	return n
}
