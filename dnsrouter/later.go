package dnsrouter

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
)

// maxKept is how much memory for its message and its reply, in octets each, a
// question may have that is used again: what questions over UDP need.
const maxKept = 4 << 10

// newQuestion gives a question in a hurry, in memory that was used before. What is
// to be done beside it counts as one of tasks.
func (r *Router) newQuestion(tasks *sync.WaitGroup, strangers Strangers) *question {
	q, ok := r.questions.Get().(*question)
	if !ok {
		q = new(question)
	}
	q.hurry, q.tasks, q.strangers = true, tasks, strangers
	return q
}

// done ends the use of a question, and of the reply in it.
func (r *Router) done(q *question) {
	q.tasks, q.missed, q.src = nil, nil, source{}
	if cap(q.own) <= maxKept && cap(q.out) <= maxKept {
		r.questions.Put(q)
	}
}

// hold makes the message the question's own, before the reader reads the next one.
func (q *question) hold() {
	q.own = append(q.own[:0], q.msg...)
	q.msg = q.own
}

// goOn answers where a hurry ended in errLater: from where it was found that the
// upstream has to be asked, or else anew; and anew if a new plan comes meanwhile.
func (r *Router) goOn(ctx context.Context, q *question, from netip.Addr, limit int) ([]byte, error) {
	q.hurry = false
	if plan := q.missed; plan != nil {
		if reply, err := r.real(ctx, plan, q, q.src); !errors.Is(err, errOutdated) {
			return reply, err
		}
	}
	for {
		if reply, err := r.answer(ctx, q, q.msg, from, limit); !errors.Is(err, errOutdated) {
			return reply, err
		}
	}
}

// errOutdated says that a question has to be answered anew, by a new plan.
var errOutdated = errors.New("there is a new plan")

// outdated tells the errors of a plan's upstream that was closed because there is
// a new plan.
func (r *Router) outdated(plan *Plan, err error) bool {
	return errors.Is(err, upstream.ErrClosed) && r.plan.Load().Plan != plan
}

// spawn does something beside the question, which may end before.
func (q *question) spawn(task func()) {
	if q.tasks == nil {
		go task()
		return
	}
	q.tasks.Go(task)
}
