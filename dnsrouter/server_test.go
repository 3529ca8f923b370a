package dnsrouter

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// loopback is whom the Router sees as the client of a connection in these tests.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// serveTCP serves on a loopback port until the test ends.
func (l *lan) serveTCP() string {
	l.t.Helper()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback.AsSlice()})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.ServeTCP(ctx, listener, nil) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("ServeTCP: %v", err)
		}
	})
	return listener.Addr().String()
}

func dial(t *testing.T, to string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func framed(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

func send(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// receive reads one message.
func receive(t *testing.T, c net.Conn) *dns.Msg {
	t.Helper()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	return m
}

// closed waits until the server has closed the connection without a word.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if b, err := io.ReadAll(c); len(b) > 0 || isTimeout(err) {
		t.Errorf("read %x, %v; want the connection closed", b, err)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func packed(t testing.TB, id uint16, name string, qtype uint16) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Id = id
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestQuestionsOfOneConnectionAreAllAnswered(t *testing.T) {
	l := newLAN(t, nil)
	c := dial(t, l.serveTCP())
	var all []byte
	const questions = 3 * maxTCPWaiting
	for id := range uint16(questions) {
		all = append(all, framed(packed(t, id, "www.node.example.", dns.TypeTXT))...)
	}
	send(t, c, all[:7]) // a length and a piece: what TCP makes of it is its affair
	send(t, c, all[7:])
	if err := c.(*net.TCPConn).CloseWrite(); err != nil { // no reason not to answer
		t.Fatal(err)
	}
	answered := make(map[uint16]bool)
	for range questions {
		got := receive(t, c)
		if answered[got.Id] || len(got.Answer) != 1 {
			t.Errorf("got the answer %d with %d records, want one record, and each answer once", got.Id, len(got.Answer))
		}
		answered[got.Id] = true
	}
	closed(t, c)
}

func TestAQuestionThatWaitsHoldsUpNoOtherOfItsConnection(t *testing.T) {
	l := newLAN(t, nil)
	answer, release := l.remote.answer, make(chan struct{})
	l.remote.answer = func(m *dns.Msg, q upstreamQuestion) { <-release; answer(m, q) }
	c := dial(t, l.serveTCP())
	send(t, c, append(framed(packed(t, 1, "www.node.example.", dns.TypeTXT)), framed(packed(t, 2, "nas.lan.", dns.TypeA))...))
	if got := receive(t, c); got.Id != 2 || len(got.Answer) != 1 {
		t.Errorf("the first answer is %d with %d records, want that of the local name, 2, with one", got.Id, len(got.Answer))
	}
	close(release)
	if got := receive(t, c); got.Id != 1 || len(got.Answer) != 1 {
		t.Errorf("the second answer is %d with %d records, want 1 with one", got.Id, len(got.Answer))
	}
}

func TestTheLargestMessageIsReadAndAnswered(t *testing.T) {
	l := newLAN(t, nil)
	c := dial(t, l.serveTCP())
	msg := append(packed(t, 7, "www.node.example.", dns.TypeA), make([]byte, 65535)...)[:65535]
	send(t, c, framed(msg))
	if got := receive(t, c); got.Rcode != dns.RcodeFormatError {
		t.Errorf("rcode = %s, want FORMERR", dns.RcodeToString[got.Rcode])
	}
	send(t, c, framed(packed(t, 8, "nas.lan.", dns.TypeA)))
	if got := receive(t, c); got.Id != 8 || len(got.Answer) != 1 {
		t.Errorf("the next question got %v", got)
	}
	l.unasked()
}

func TestASlowMessageIsNotWaitedForLong(t *testing.T) {
	l := newLAN(t, nil)
	c := dial(t, l.serveTCP())
	began := time.Now()
	go func() { // one octet at a time, as long as they are taken
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for _, b := range framed(make([]byte, 60000)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			<-tick.C
		}
	}()
	closed(t, c)
	if took := time.Since(began); took < tcpMessage || took > 2*tcpMessage {
		t.Errorf("the connection was closed after %s, want about %s", took, tcpMessage)
	}
}

func TestAnEmptyMessageEndsTheConnection(t *testing.T) {
	l := newLAN(t, nil)
	c := dial(t, l.serveTCP())
	send(t, c, []byte{0, 0})
	closed(t, c)
}

// datagrams are questions over UDP, handed in one by one, and their answers.
type datagrams struct {
	in  chan []byte
	out chan []byte
}

func newDatagrams() *datagrams { return &datagrams{make(chan []byte), make(chan []byte, 8)} }

var (
	clientPort = netip.AddrPortFrom(tv, 40000)
	serverPort = netip.MustParseAddrPort("8.8.8.8:53")
)

func (d *datagrams) Read() ([]byte, netip.AddrPort, netip.AddrPort, error) {
	b, ok := <-d.in
	if !ok {
		return nil, netip.AddrPort{}, netip.AddrPort{}, net.ErrClosed
	}
	return b, clientPort, serverPort, nil
}

func (d *datagrams) Close() error { close(d.in); return nil }

func (d *datagrams) Send(b []byte, from, to netip.AddrPort) error {
	if from != serverPort || to != clientPort {
		b = nil
	}
	d.out <- append([]byte(nil), b...)
	return nil
}

func TestASlowUpstreamHoldsUpNobodyElse(t *testing.T) {
	l := newLAN(t, nil)
	answer, release := l.remote.answer, make(chan struct{})
	l.remote.answer = func(m *dns.Msg, q upstreamQuestion) { <-release; answer(m, q) }
	d := newDatagrams()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.ServeUDP(ctx, d, d, nil) }()

	d.in <- packed(t, 1, "www.node.example.", dns.TypeA)
	d.in <- packed(t, 2, "nas.lan.", dns.TypeA)
	for _, want := range []uint16{2, 1} {
		got := new(dns.Msg)
		if err := got.Unpack(<-d.out); err != nil || got.Id != want || len(got.Answer) != 1 {
			t.Errorf("got %v, %v; want the answer %d", got, err, want)
		}
		if want == 2 {
			close(release)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ServeUDP: %v", err)
	}
}
