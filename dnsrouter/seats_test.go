package dnsrouter

import (
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// dialFrom connects as the n-th client: loopback has many addresses.
func dialFrom(t *testing.T, n int, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(n))}}
	c, err := d.Dial("tcp4", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tcpIdle / 2))
	return c
}

// served has a connection answer a local name.
func served(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	send(t, c, framed(packed(t, 1, "nas.lan.", dns.TypeA)))
	receive(t, c)
	return c
}

func TestANewConnectionTakesTheSeatOfTheSameClientsOldest(t *testing.T) {
	l := newLAN(t, nil)
	to := l.serveTCP()
	other := served(t, dialFrom(t, 2, to))
	var mine []net.Conn
	for range maxTCPEach {
		mine = append(mine, served(t, dialFrom(t, 1, to)))
	}
	send(t, mine[1], []byte{0}) // the beginning of a question does not make it younger
	served(t, mine[0])
	served(t, dialFrom(t, 1, to))
	closed(t, mine[1])
	for _, c := range append(mine[2:], mine[0], other) {
		served(t, c)
	}
}

func TestWithAllSeatsTakenTheClientThatHasTheMostLosesItsOldest(t *testing.T) {
	l := newLAN(t, nil)
	to := l.serveTCP()
	const clients = maxTCP / maxTCPEach
	var first []net.Conn
	for i := range maxTCP - 1 {
		n := 2 + i%clients
		c := served(t, dialFrom(t, n, to))
		if i < clients {
			first = append(first, c)
		}
	}
	most := 2 // has one more than the last, as others have
	served(t, dialFrom(t, 100, to))
	served(t, dialFrom(t, 101, to))
	closed(t, first[most-2])
	for _, c := range first[1:] {
		served(t, c)
	}
}

func TestAConnectionThatWaitsForItsAnswerKeepsItsSeat(t *testing.T) {
	l := newLAN(t, nil)
	answer, asked, release := l.remote.answer, make(chan struct{}, maxTCPEach), make(chan struct{})
	l.remote.answer = func(m *dns.Msg, q upstreamQuestion) { asked <- struct{}{}; <-release; answer(m, q) }
	to := l.serveTCP()
	var waiting []net.Conn
	for i := range maxTCPEach {
		c := dialFrom(t, 20, to)
		send(t, c, framed(packed(t, uint16(i), string(rune('a'+i))+".node.example.", dns.TypeTXT)))
		waiting = append(waiting, c)
		<-asked
	}
	closed(t, dialFrom(t, 20, to))
	close(release)
	for i, c := range waiting {
		if got := receive(t, c); got.Id != uint16(i) || len(got.Answer) != 1 {
			t.Errorf("got the answer %d with %d records, want %d with one", got.Id, len(got.Answer), i)
		}
	}
}
