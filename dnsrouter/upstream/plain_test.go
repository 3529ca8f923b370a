package upstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
	"github.com/miekg/dns"
)

var forged = netip.MustParseAddr("203.0.113.66")

func TestWrongAnswersAreIgnoredWhileTheRightOneIsAwaited(t *testing.T) {
	elsewhere, err := net.ListenPacket("udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	addr, _ := serveUDP(t, func(a asked) [][]byte {
		elsewhere.WriteTo(a.reply(forged, nil), net.UDPAddrFromAddrPort(a.from))
		return [][]byte{
			[]byte("garbage"),
			a.reply(forged, func(m *dns.Msg) { m.Id++ }),
			a.reply(forged, func(m *dns.Msg) { m.Question[0].Name = "other.example." }),
			a.reply(forged, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }),
			a.reply(forged, func(m *dns.Msg) { m.Response = false }),
			append(a.reply(forged, nil), 0),
			a.reply(right, nil),
		}
	})
	u := open(t, &way{}, Options{}, udp(addr))
	wantAddress(t, u, "www.example.com", right)
	if got, want := u.env.count.wrong.Load(), int64(6); got != want {
		t.Errorf("%d wrong answers counted, want %d: those from elsewhere are the kernel's to drop", got, want)
	}
}

func TestAFloodOfWrongAnswersEndsInTCP(t *testing.T) {
	addr, _, tcp := serveBoth(t, func(a asked) (flood [][]byte) {
		for i := range 1000 {
			flood = append(flood, a.reply(forged, func(m *dns.Msg) { m.Id += uint16(i) + 1 }))
		}
		return flood
	}, answers(right))
	u := open(t, &way{}, Options{}, udp(addr))
	wantAddress(t, u, "www.example.com", right)
	if got, want := len(tcp.all()), 1; got != want {
		t.Errorf("asked %d times over TCP, want %d", got, want)
	}
	if got := u.env.count.wrong.Load(); got != maxWrong+1 {
		t.Errorf("%d answers were ignored, want %d", got, maxWrong+1)
	}
}

func TestWhatDoesNotFitIsAskedOverTCP(t *testing.T) {
	tests := []struct {
		name   string
		answer func(asked) []byte
	}{
		{"a truncated answer", func(a asked) []byte { return a.reply(forged, func(m *dns.Msg) { m.Truncated, m.Answer = true, nil }) }},
		{"one cut within a record", func(a asked) []byte {
			b := a.reply(forged, func(m *dns.Msg) { m.Truncated = true })
			return b[:len(b)-20]
		}},
		{"one over 1232 octets", func(a asked) []byte {
			return a.reply(forged, func(m *dns.Msg) {
				for i := range 80 {
					m.Answer = append(m.Answer, &dns.A{
						Hdr: dns.RR_Header{Name: "www.example.com.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(10, 0, 0, byte(i)),
					})
				}
			})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr, _, _ := serveBoth(t, func(a asked) [][]byte { return [][]byte{tt.answer(a)} }, answers(right))
			d := &way{}
			u := open(t, d, Options{}, udp(addr))
			wantAddress(t, u, "www.example.com", right)
			wantAddress(t, u, "www.example.org", right)
			if tcp, _ := d.dialled(); tcp != 1 {
				t.Errorf("%d TCP connections, want one for both questions", tcp)
			}
		})
	}
}

func TestALostDatagramIsSentAgain(t *testing.T) {
	first := make(chan asked, 1)
	addr, seen := serveUDP(t, func(a asked) [][]byte {
		select {
		case first <- a:
			return nil
		default:
			return [][]byte{a.reply(right, nil)}
		}
	})
	u := open(t, &way{}, Options{}, udp(addr))
	wantAddress(t, u, "www.example.com", right)
	if list := seen.all(); len(list) != 2 || string(list[0].query) != string(list[1].query) || list[0].from != list[1].from {
		t.Errorf("the server saw %d datagrams, want the same one twice from one port", len(list))
	}
}

func TestAServerThatChangesLetterCaseIsLearnt(t *testing.T) {
	lower := func(a asked) [][]byte {
		return [][]byte{a.reply(right, func(m *dns.Msg) { m.Question[0].Name = strings.ToLower(m.Question[0].Name) })}
	}
	addr, _, tcp := serveBoth(t, lower, lower)
	u := open(t, &way{}, Options{}, udp(addr))
	for i := range 6 {
		wantAddress(t, u, fmt.Sprintf("a-long-name-with-many-letters-%d.example.com", i), right)
	}
	if got, want := len(tcp.all()), caseMisses; got != want {
		t.Errorf("asked %d times over TCP, want %d", got, want)
	}
}

// datagramsOnly is a way to servers that have no TCP.
type datagramsOnly struct{ way }

func (*datagramsOnly) DialTCP(context.Context, string, netip.AddrPort) (net.Conn, error) {
	return nil, syscall.ECONNREFUSED
}

func TestAServerThatChangesLetterCaseAndHasNoTCPIsLearntByItsFirstQuestion(t *testing.T) {
	addr, seen := serveUDP(t, func(a asked) [][]byte {
		return [][]byte{a.reply(right, func(m *dns.Msg) { m.Question[0].Name = strings.ToLower(m.Question[0].Name) })}
	})
	u := open(t, &datagramsOnly{}, Options{}, udp(addr))
	for i := range 3 {
		wantAddress(t, u, fmt.Sprintf("a-long-name-with-many-letters-%d.example.com", i), right)
	}
	if got, want := len(seen.all()), caseMisses+3; got != want {
		t.Errorf("asked %d times, want %d", got, want)
	}
}

func TestAServerThatTakesOneQuestionAtATimeIsAskedByAConnectionForEach(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		first, err := ln.Accept()
		if err != nil {
			return
		}
		buf := make([]byte, wire.MaxUDP)
		for range 2 { // it does not answer where there are two
			readOne(first, true, buf)
		}
		first.Close()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			query, _ := readOne(conn, true, buf)
			if a, ok := newAsked(query, conn.RemoteAddr()); ok {
				conn.Write(framed(a.reply(right, nil)))
			}
			conn.Close()
		}
	}()
	u := open(t, &way{}, Options{}, Server{Scheme: "tcp", Addr: ln.Addr().(*net.TCPAddr).AddrPort()})
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() { wantAddress(t, u, fmt.Sprintf("n%d.example", i), right) })
	}
	all.Wait()
}

// streamsOnly is a node that carries no UDP.
type streamsOnly struct {
	node
	refused *atomic.Int32
}

func (s streamsOnly) DialUDP(context.Context, string, netip.AddrPort) (net.Conn, error) {
	s.refused.Add(1)
	return nil, errors.New("command not supported by the node")
}

func TestANodeThatCarriesNoUDPIsGivenQuestionsOverTCP(t *testing.T) {
	addr, seen := serveTCP(t, anyPort, nil, answers(right))
	d := streamsOnly{node{&way{}}, new(atomic.Int32)}
	u := open(t, d, Options{}, udp(addr))
	for i := range 3 {
		wantAddress(t, u, fmt.Sprintf("n%d.example", i), right)
	}
	if got := d.refused.Load(); got != 1 {
		t.Errorf("the node was asked for UDP %d times, want once", got)
	}
	if got := len(seen.all()); got != 3 {
		t.Errorf("the server was asked %d times over TCP, want 3", got)
	}
}

func TestIdsAndPortsOfTenThousandQuestionsAreRandom(t *testing.T) {
	const questions, workers, bins = 10000, 16, 64
	addr, seen := serveUDP(t, func(a asked) [][]byte { return [][]byte{a.reply(right, nil)} })
	u := open(t, &way{}, Options{}, udp(addr))
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < questions; i += workers {
				if _, err := u.Exchange(within(t, 5*time.Second), question(fmt.Sprintf("n%d.example", i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()

	var ids, ports []uint16
	low, high := uint16(math.MaxUint16), uint16(0)
	for _, a := range seen.all() {
		ids = append(ids, a.msg.Id)
		ports = append(ports, a.from.Port())
		low, high = min(low, a.from.Port()), max(high, a.from.Port())
	}
	if len(ids) < questions {
		t.Fatalf("the server saw %d questions, want %d", len(ids), questions)
	}
	// 63 degrees of freedom: beyond 118.9 once in 50,000 runs.
	if got := chiSquare(ids, 0, 1<<16, bins); got > 118.9 {
		t.Errorf("chi-square of ids = %.1f, want at most 118.9", got)
	}
	if got := chiSquare(ports, int(low), int(high)+1, bins); got > 118.9 {
		t.Errorf("chi-square of ports = %.1f, want at most 118.9", got)
	}
	if got, want := sequential(ids)+sequential(ports), 20; got > want {
		t.Errorf("%d ids and ports follow on the one before, want at most %d", got, want)
	}
}

// chiSquare measures how far values are from being spread evenly.
func chiSquare(values []uint16, low, high, bins int) float64 {
	counts := make([]int, bins)
	for _, v := range values {
		counts[(int(v)-low)*bins/(high-low)]++
	}
	sum := 0.0
	for i, n := range counts {
		// Bins hold unequally many values where the range is no multiple.
		width := float64((i+1)*(high-low)/bins - i*(high-low)/bins)
		want := float64(len(values)) * width / float64(high-low)
		sum += (float64(n) - want) * (float64(n) - want) / want
	}
	return sum
}

func sequential(values []uint16) int {
	n := 0
	for i := 1; i < len(values); i++ {
		if d := values[i] - values[i-1]; d == 1 || d == 2 {
			n++
		}
	}
	return n
}

// library is a Dialer that lends, and counts what it is given back.
type library struct {
	way
	back, closed atomic.Int32
}

type book struct {
	net.Conn
	from *library
}

func (l *library) LendUDP(ctx context.Context, to netip.AddrPort) (Lent, error) {
	conn, err := l.DialUDP(ctx, "", to)
	return &book{conn, l}, err
}

func (b *book) GiveBack() { b.from.back.Add(1); b.Conn.Close() }

func (b *book) Close() error { b.from.closed.Add(1); return b.Conn.Close() }

func TestALentSocketIsGivenBackByAnAnsweredQuestion(t *testing.T) {
	addr, _ := serveUDP(t, answers(right))
	d := &library{}
	u := open(t, d, Options{}, udp(addr))
	wantAddress(t, u, "www.example.com", right)
	if back, closed := d.back.Load(), d.closed.Load(); back != 1 || closed != 0 {
		t.Errorf("%d sockets given back and %d closed, want 1 and 0", back, closed)
	}
}

// Whoever closes it may do so at any later time, so it is nobody else's.
func TestALentSocketIsClosedByAQuestionThatWasGivenUp(t *testing.T) {
	came := make(chan struct{}, 8) // more than it is sent again in
	addr, _ := serveUDP(t, func(asked) [][]byte { came <- struct{}{}; return nil })
	d := &library{}
	u := open(t, d, Options{}, udp(addr))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-came; cancel() }()
	if _, err := u.Exchange(ctx, question("www.example.com")); !errors.Is(err, context.Canceled) {
		t.Errorf("Exchange = %v, want %v", err, context.Canceled)
	}
	u.Close()
	if back, closed := d.back.Load(), d.closed.Load(); back != 0 || closed != 1 {
		t.Errorf("%d sockets given back and %d closed, want 0 and 1", back, closed)
	}
}

func TestADearAssociationIsShared(t *testing.T) {
	addr, seen := serveUDP(t, func(a asked) [][]byte {
		return [][]byte{a.reply(forged, func(m *dns.Msg) { m.Question[0].Name = "other.example." }), a.reply(right, nil)}
	})
	d := &way{}
	u := open(t, node{d}, Options{}, udp(addr))
	for i := range 20 {
		wantAddress(t, u, fmt.Sprintf("n%d.example", i), right)
	}
	if _, udp := d.dialled(); udp != 1 {
		t.Errorf("%d associations, want 1", udp)
	}
	if got, want := len(seen.all()), 20; got != want {
		t.Errorf("%d datagrams, want %d", got, want)
	}
	if got, want := u.env.count.wrong.Load(), int64(20); got != want {
		t.Errorf("%d wrong answers counted, want %d", got, want)
	}
}

func TestAFloodOnASharedAssociationEndsInTCP(t *testing.T) {
	addr, _, _ := serveBoth(t, func(a asked) (flood [][]byte) {
		for i := range 100 {
			flood = append(flood, a.reply(forged, func(m *dns.Msg) { m.Id += uint16(i) + 1 }))
		}
		return flood
	}, answers(right))
	u := open(t, node{&way{}}, Options{}, udp(addr))
	wantAddress(t, u, "www.example.com", right)
}

func TestAServerWithoutEDNSIsAskedWithoutIt(t *testing.T) {
	for name, refuse := range map[string]func(asked) []byte{
		"FORMERR":                    func(a asked) []byte { return a.refusal(dns.RcodeFormatError) },
		"NOTIMP":                     func(a asked) []byte { return a.refusal(dns.RcodeNotImplemented) },
		"FORMERR without a question": func(a asked) []byte { return append(a.refusal(dns.RcodeFormatError)[:4:4], make([]byte, 8)...) },
	} {
		for _, d := range []Dialer{&way{}, node{&way{}}} {
			t.Run(fmt.Sprintf("%s, by %T", name, d), func(t *testing.T) {
				addr, seen := serveUDP(t, func(a asked) [][]byte {
					if a.msg.IsEdns0() != nil {
						return [][]byte{refuse(a)}
					}
					return [][]byte{a.reply(right, nil)}
				})
				u := open(t, d, Options{}, udp(addr))
				wantAddress(t, u, "www.example.com", right)
				wantAddress(t, u, "www.example.org", right)
				if got := len(seen.all()); got != 3 {
					t.Errorf("the server saw %d questions, want 3: it does not know EDNS, and that is known for the second", got)
				}
			})
		}
	}
}

func TestAServerThatRefusesAQuestionIsAskedTheNextWithEDNS(t *testing.T) {
	addr, seen := serveUDP(t, func(a asked) [][]byte { return [][]byte{a.refusal(dns.RcodeFormatError)} })
	u := open(t, &way{}, Options{}, udp(addr))
	for _, name := range []string{"one.example", "two.example"} {
		answer, err := u.Exchange(within(t, 5*time.Second), question(name))
		if err != nil || wire.Rcode(answer) != wire.RcodeFormat {
			t.Errorf("%s: %v, want FORMERR", name, err)
		}
	}
	var edns []bool
	for _, a := range seen.all() {
		edns = append(edns, a.msg.IsEdns0() != nil)
	}
	if want := []bool{true, false, true, false}; !slices.Equal(edns, want) {
		t.Errorf("asked with EDNS %v, want %v", edns, want)
	}
}
