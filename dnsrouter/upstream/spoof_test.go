package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/miekg/dns"
)

// pipes is a Dialer whose servers are the test: each question that is sent over
// UDP arrives at once, with the conn to answer it.
type pipes struct {
	mu   sync.Mutex // guards the field below
	open []pipe
}

type pipe struct {
	asked
	conn net.Conn
}

func (p *pipes) DialTCP(context.Context, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.New("no TCP here")
}

func (p *pipes) DialUDP(context.Context, string, netip.AddrPort) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		buf := make([]byte, 4096)
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		a, _ := newAsked(buf[:n], &net.UDPAddr{})
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open = append(p.open, pipe{a, server})
	}()
	return client, nil
}

// questions are those that were sent so far.
func (p *pipes) questions() []pipe {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]pipe(nil), p.open...)
}

// CVE-2020-25686: many questions for one name at once let a forger guess any.
func TestOneQuestionIsUnderWayForTheSameRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &pipes{}
		u := New(Config{Name: "u", Servers: []Server{udp(netip.MustParseAddrPort("192.0.2.53:53"))}}, d, Options{})
		defer u.Close()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				q := Question{Name: "www.example.com", Type: wire.TypeA, Class: wire.ClassIN, DO: i&1 > 0, CD: i&2 > 0}
				if _, err := u.Exchange(t.Context(), q); err != nil {
					t.Error(err)
				}
			})
		}
		for n := range 4 {
			sent := d.questions()
			if len(sent) != n+1 {
				t.Fatalf("%d questions were sent after %d answers, want one more than those", len(sent), n)
			}
			sent[n].conn.Write(sent[n].reply(right, nil))
		}
		all.Wait()
	})
}

// CVE-2020-25684: a question's own port is the only one that an answer may
// come to.
func TestAnAnswerToAnotherQuestionsPortIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &pipes{}
		u := New(Config{Name: "u", Servers: []Server{udp(netip.MustParseAddrPort("192.0.2.53:53"))}}, d, Options{})
		defer u.Close()
		got := make(chan []byte, 2)
		for _, name := range []string{"a.example", "b.example"} {
			go func() {
				answer, err := u.Exchange(t.Context(), question(name))
				if err != nil {
					t.Error(err)
				}
				got <- answer
			}()
		}
		sent := d.questions()
		if len(sent) != 2 {
			t.Fatalf("%d questions were sent, want 2", len(sent))
		}
		sent[0].conn.Write(sent[1].reply(forged, nil))
		sent[1].conn.Write(sent[0].reply(forged, nil))
		for _, p := range sent {
			p.conn.Write(p.reply(right, nil))
		}
		for range 2 {
			r, err := wire.ParseResponse(<-got)
			if err != nil {
				t.Fatal(err)
			}
			if a := r.AppendAddrs(nil); len(a) != 1 || a[0] != right {
				t.Errorf("got %s, want %s", a, right)
			}
		}
	})
}

// CVE-2020-25685: the whole question is compared, not a checksum of it. These
// names have the same CRC-32, which dnsmasq compared.
func TestTheQuestionIsComparedByItsOctets(t *testing.T) {
	query, err := newQuery(question("plumless.example"), 7, false, false)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	m.SetQuestion("buckeroo.example.", dns.TypeA)
	m.Id, m.Response = 7, true
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if err := accept(raw, query, false); !errors.Is(err, wire.ErrMismatch) {
		t.Errorf("an answer to another name: %v, want %v", err, wire.ErrMismatch)
	}
}

// A forger who does not see the questions sends as fast as the network lets
// him, with the right port and every id but one.
func TestAFloodOfForgedAnswersIsNotAccepted(t *testing.T) {
	const names = 50
	addr, _ := serveUDP(t, func(a asked) [][]byte {
		flood := [][]byte{}
		for range 5 { // fewer than end in TCP
			flood = append(flood, a.reply(forged, func(m *dns.Msg) { m.Id ^= uint16(1 + rand.IntN(1<<16-1)) }))
		}
		for range 3 { // the right id, for another name, type or letter case
			flood = append(flood, a.reply(forged, func(m *dns.Msg) { m.Question[0].Name = "x" + m.Question[0].Name }))
		}
		return append(flood, a.reply(right, nil), a.reply(forged, nil))
	})
	u := open(t, &way{}, Options{}, udp(addr))
	for i := range names {
		wantAddress(t, u, fmt.Sprintf("n%d.example.com", i), right)
	}
	if got, want := u.env.count.wrong.Load(), int64(8*names); got != want {
		t.Errorf("%d answers were ignored, want %d", got, want)
	}
}

func TestAForgerWhoMissesTheLetterCaseIsNotBelieved(t *testing.T) {
	addr, _, tcp := serveBoth(t, func(a asked) [][]byte {
		return [][]byte{a.reply(forged, func(m *dns.Msg) { m.Question[0].Name = "wWw.ExAmPlE-WiTh-MaNy-LeTtErS.cOm." })}
	}, answers(right))
	u := open(t, &way{}, Options{}, udp(addr))
	wantAddress(t, u, "www.example-with-many-letters.com", right)
	if got := len(tcp.all()); got != 1 {
		t.Errorf("asked %d times over TCP, want once: the datagram had the right id and port", got)
	}
}

func TestAQuestionThatWaitsForAnotherEndsWithItsOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &pipes{}
		u := New(Config{Name: "u", Servers: []Server{udp(netip.MustParseAddrPort("192.0.2.53:53"))}}, d, Options{})
		defer u.Close()
		go u.Exchange(t.Context(), question("a.example"))
		d.questions()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		q := question("a.example")
		q.DO = true
		began := time.Now()
		if _, err := u.Exchange(ctx, q); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("Exchange = %v after %s, want it to give up after 1s", err, time.Since(began))
		}
	})
}
