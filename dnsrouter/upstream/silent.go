package upstream

import (
	"context"
	"errors"
	"time"
)

// lifeTime is when a question by a node of which nothing was heard since is given
// up: whoever asked is to know after two seconds, and a node that lives has answered
// a greeting by then. Connecting goes on for those who ask next.
const lifeTime = 1900 * time.Millisecond

// errSilent is the end of such a question.
var errSilent = errors.New("the node says nothing")

// whileAlive makes a context that ends with a silent node.
func (e *env) whileAlive(ctx context.Context) (context.Context, context.CancelFunc) {
	if e.node == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	before := e.signs()
	patience := time.AfterFunc(lifeTime, func() {
		if e.signs() == before {
			cancel(errSilent)
		}
	})
	return ctx, func() { patience.Stop(); cancel(nil) }
}

// signs changes with every sign of the node's life: its own words, and what came
// through it.
func (e *env) signs() uint32 { return e.node.Heard() + e.heard.Load() }
