package dnsrouter

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
)

// numbered is the name with a number, and the address that it has.
func numbered(n int) (string, netip.Addr) {
	return fmt.Sprintf("n%d.direct.example", n), netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)})
}

// forgetful is a crowd all of whose questions are read to the same memory.
type forgetful struct {
	crowd
	msg []byte
}

func (f *forgetful) Read() ([]byte, netip.AddrPort, netip.AddrPort, error) {
	clear(f.msg)
	msg, client, server, err := f.crowd.Read()
	f.msg = append(f.msg[:0], msg...)
	return f.msg, client, server, err
}

func TestEachQuestionGetsItsOwnAnswerWhateverMemoryItHas(t *testing.T) {
	const names = 1000
	l := newLAN(t, nil)
	l.local.answer = func(m *dns.Msg, q upstream.Question) {
		var n int
		fmt.Sscanf(q.Name, "n%d.", &n)
		_, addr := numbered(n)
		m.Answer = append(m.Answer, record(q.Name+". 300 IN A "+addr.String()))
	}
	crowd := &forgetful{crowd: crowd{make(chan asking), make(chan asking, maxWaiting)}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.ServeUDP(ctx, crowd, crowd, nil) }()
	defer func() { cancel(); <-ended }()
	for asked, answered := 0, 0; answered < names; answered++ {
		for ; asked < names && asked < answered+maxInFlightEach; asked++ {
			name, _ := numbered(asked)
			crowd.in <- asking{packed(t, uint16(asked), name+".", dns.TypeA), laptop}
		}
		m := new(dns.Msg)
		if err := m.Unpack((<-crowd.out).msg); err != nil {
			t.Fatal(err)
		}
		name, addr := numbered(int(m.Id))
		if m.Question[0].Name != name+"." || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != addr.String() {
			t.Fatalf("the answer for %s is\n%s\nwant its address %s", name, m, addr)
		}
	}
}

// endless is an upstream that answers nobody before the end.
type endless struct {
	asked chan struct{}
	mu    sync.Mutex // guards the field below
	ended int
}

func (e *endless) Exchange(ctx context.Context, _ upstream.Question) ([]byte, error) {
	e.asked <- struct{}{}
	<-ctx.Done()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended++
	return nil, ctx.Err()
}

func (e *endless) over() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended
}

func TestAStopWaitsForWhatIsUnderWay(t *testing.T) {
	e := &endless{asked: make(chan struct{}, 1)}
	l := newLAN(t, func(p *Plan) { p.Upstreams["local"] = e })
	c := &crowd{make(chan asking), make(chan asking, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.ServeUDP(ctx, c, c, nil) }()
	c.in <- asking{packed(t, 7, "www.direct.example.", dns.TypeA), laptop}
	<-e.asked
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if e.over() != 1 {
		t.Error("the server ended before the question")
	}
}

// closing is an upstream that is closed while it is asked.
type closing struct{ asked, closed chan struct{} }

func (c closing) Exchange(context.Context, upstream.Question) ([]byte, error) {
	c.asked <- struct{}{}
	<-c.closed
	return nil, fmt.Errorf("asking: %w", upstream.ErrClosed)
}

func TestAQuestionUnderWayIsAnsweredByTheNewPlan(t *testing.T) {
	for outbound, want := range map[string]string{"direct": localAnswer.String(), "node": "198.18.0.1", "reject": ""} {
		old := closing{make(chan struct{}), make(chan struct{})}
		l := newLAN(t, func(p *Plan) { p.Upstreams["local"] = old })
		c := &crowd{make(chan asking), make(chan asking, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.ServeUDP(ctx, c, c, nil) }()
		c.in <- asking{packed(t, 7, "www.direct.example.", dns.TypeA), laptop}
		<-old.asked
		home := household(t)
		home.Rules[0].Outbound = outbound
		if err := l.SetPlan(l.newPlan(home, nil)); err != nil {
			t.Fatal(err)
		}
		close(old.closed)
		m := new(dns.Msg)
		if err := m.Unpack((<-c.out).msg); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(addrs(m), " "); got != want || m.Rcode == dns.RcodeServerFailure {
			t.Errorf("direct, then %s: the answer is\n%s\nwant %q", outbound, m, want)
		}
		cancel()
		<-ended
	}
}

func TestAStopWaitsForAnswersThatAreRenewed(t *testing.T) {
	e := &endless{asked: make(chan struct{}, 1)}
	l := newLAN(t, func(p *Plan) { p.Upstreams["local"] = e })
	var tasks sync.WaitGroup
	q := l.newQuestion(&tasks, nil)
	if err := q.Parse(packed(t, 7, "www.direct.example.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	q.name = viewOf(q.Name())
	ctx, cancel := context.WithCancel(t.Context())
	l.renew(ctx, l.Router.plan.Load(), q, source{upstream: "local", direct: true})
	<-e.asked
	cancel()
	tasks.Wait()
	if e.over() != 1 {
		t.Error("the tasks ended before the renewal")
	}
}
