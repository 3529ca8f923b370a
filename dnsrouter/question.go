package dnsrouter

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"unsafe"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/fairlead/fairlead/gateway/policy"
)

// question is one client's question while it is being answered. A question has
// one goroutine at a time; its memory is used again for the next one.
type question struct {
	wire.Query
	msg    []byte // as it came
	name   string // Query.Name; valid until the next parse
	device policy.Device
	client policy.Client
	limit  int    // octets that the reply may have
	out    []byte // where the reply is built

	// strangers tells of whom stranger is true; nil: nobody.
	strangers Strangers
	// stranger says that the asker's packets are not diverted, though it is no
	// client whose mode is off.
	stranger bool

	// hurry says that the asker cannot wait: an answer that needs the kernel or
	// the network is errLater instead.
	hurry bool
	// missed is the plan of a question that was found to have no answer here,
	// which src has to be asked for; else nil.
	missed *running
	src    source

	own   []byte          // memory for msg
	tasks *sync.WaitGroup // those of whoever serves; nil: nobody waits
}

// errLater says that the answer cannot be given without waiting.
var errLater = errors.New("answering takes a while")

// answer gives the reply to one message of at most limit octets, or, where
// limit is zero, of what the client can receive over UDP; nil is silence. It is
// a list of who may answer, in order.
func (r *Router) answer(ctx context.Context, q *question, msg []byte, from netip.Addr, limit int) ([]byte, error) {
	plan := r.plan.Load()
	q.missed = nil
	q.msg, q.limit = msg, max(limit, wire.MinUDP)
	if err := q.Parse(msg); err != nil {
		return r.malformed(q, err), nil
	}
	q.name = viewOf(q.Name())
	if limit == 0 {
		q.limit = q.Limit()
	}
	if reply := r.unanswerable(q); reply != nil {
		return reply, nil
	}
	if reply, err := r.local(ctx, plan.Plan, q, from); reply != nil || err != nil {
		return reply, err
	}
	if reply := r.wellKnown(q); reply != nil {
		return reply, nil
	}
	if !q.RD {
		return r.refused(q), nil
	}
	if !r.identify(q, from) {
		return nil, errLater
	}
	q.client = plan.Policy.Client(q.device)
	q.stranger = q.strangers != nil && q.strangers(from)
	return r.byPolicy(ctx, plan, q)
}

// identify says who asks. A device that is not known yet may have to be asked
// for, which those in a hurry leave to others.
func (r *Router) identify(q *question, from netip.Addr) (known bool) {
	if q.hurry {
		q.device, known = r.deps.Devices.Known(from)
		return known
	}
	q.device = r.deps.Devices.Device(from)
	return true
}

// byPolicy answers as the way of the name wants it.
func (r *Router) byPolicy(ctx context.Context, plan *running, q *question) ([]byte, error) {
	mode := r.mode(plan.Plan, q)
	ways := plan.Policy.Name(q.client, q.name)
	switch {
	case mode == policy.Off:
		return r.real(ctx, plan, q, source{upstream: plan.LocalUpstream, direct: true})
	case plan.Config.Canaries && IsCanary(q.name):
		return r.discouraged(q), nil
	case ways.AllReject:
		return r.rejected(plan.Plan, q), nil
	case q.Type == wire.TypeAAAA && !plan.Config.IPv6:
		return q.withheld(), nil
	case ways.AllDirect:
		return r.real(ctx, plan, q, source{upstream: ways.Upstream, direct: true})
	case mode == policy.FakeIP && carriesAddress(q.Type) && !plan.Policy.RealName(q.name):
		return r.fake(ctx, plan, q, ways)
	default:
		return r.real(ctx, plan, q, source{upstream: ways.Upstream, both: ways.NeedsAddr})
	}
}

// mode is how the names that the client asks for are answered.
func (r *Router) mode(plan *Plan, q *question) policy.Mode {
	if q.stranger {
		return policy.Off
	}
	mode := plan.Policy.Mode(q.client)
	if mode == policy.FakeIP && r.deps.Own != nil && r.deps.Own(q.device.Addr) {
		return policy.RealIP
	}
	return mode
}

// carriesAddress tells the types whose answers can name an address: for a
// faked name they may name only the fake one.
func carriesAddress(t uint16) bool {
	switch t {
	case wire.TypeA, wire.TypeAAAA, wire.TypeHTTPS, wire.TypeSVCB:
		return true
	}
	return false
}

// malformed answers what is wrong in itself (RFC 1035 section 4.1.1, RFC 6891).
func (r *Router) malformed(q *question, err error) []byte {
	var rcode uint16
	switch {
	case errors.Is(err, wire.ErrFormat):
		rcode = wire.RcodeFormat
	case errors.Is(err, wire.ErrOpcode):
		rcode = wire.RcodeNotImpl
	case errors.Is(err, wire.ErrVersion):
		rcode = wire.RcodeBadVers
	default:
		return nil
	}
	r.count.refused.Add(1)
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, rcode)
	return q.finish(&reply)
}

// Meta types from here on are no data (RFC 6895 section 3.1).
const firstMetaType = 128

// unanswerable refuses what a forwarder for clients has no business with:
// transfers, other classes, meta types. ANY gets the least answer (RFC 8482).
func (r *Router) unanswerable(q *question) []byte {
	switch {
	case q.Type == wire.TypeANY && q.Class == wire.ClassIN && q.RD:
		reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeSuccess)
		reply.Record(wire.TypeHINFO, negativeTTL, []byte("\x07RFC8482\x00"))
		return q.finish(&reply)
	case q.Class != wire.ClassIN, q.Type == 0, q.Type == wire.TypeOPT, q.Type >= firstMetaType && q.Type <= wire.TypeANY:
		return r.refused(q)
	}
	return nil
}

// refused answers what is nobody's business, among it questions that want no
// recursion for names elsewhere: they only serve to look into caches.
func (r *Router) refused(q *question) []byte {
	r.count.refused.Add(1)
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeRefused)
	return q.finish(&reply)
}

// rejected answers for a name whose outbound is reject.
func (r *Router) rejected(plan *Plan, q *question) []byte {
	r.count.refused.Add(1)
	rcode := wire.RcodeSuccess
	if plan.Config.RejectAnswer == NXDomain {
		rcode = wire.RcodeNXDomain
	}
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, rcode)
	reply.EDE(wire.EDEBlocked, "")
	switch {
	case plan.Config.RejectAnswer == Zero && q.Type == wire.TypeA:
		reply.Addr(negativeTTL, netip.IPv4Unspecified())
	case plan.Config.RejectAnswer == Zero && q.Type == wire.TypeAAAA:
		reply.Addr(negativeTTL, netip.IPv6Unspecified())
	default:
		reply.Negative(negativeTTL)
	}
	return q.finish(&reply)
}

// negativeTTL is how long clients may keep what we say of ourselves, in
// seconds: short, because a reload can change it.
const negativeTTL = 10

func (r *Router) noData(q *question) []byte { return q.negative(wire.RcodeSuccess) }

// withheld is that there is no such data, of a name that may well have some.
func (q *question) withheld() []byte {
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeSuccess)
	reply.EDE(wire.EDEForged, "")
	reply.Negative(negativeTTL)
	return q.finish(&reply)
}

func (q *question) negative(rcode uint16) []byte {
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, rcode)
	reply.Negative(negativeTTL)
	return q.finish(&reply)
}

func (q *question) failed(code uint16, why string) []byte {
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeServFail)
	reply.EDE(code, why)
	return q.finish(&reply)
}

// finish completes a reply and keeps its memory for the next one.
func (q *question) finish(r *wire.Reply) []byte {
	q.out = r.Finish(q.limit)
	return q.out
}

// viewOf is a string over bytes that must not change while it is in use.
func viewOf(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
