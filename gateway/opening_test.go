package gateway

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestFakeNameDecidesWithoutAWordOfTheClient(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	client := w.connect(fakeAddr)
	d := w.dialled("node", w.node)
	if d.host != "www.example.com" || d.to.Port() != w.port || d.to.Addr().IsValid() {
		t.Errorf("dialled %q at %s, want www.example.com at port %d without an address", d.host, d.to, w.port)
	}
	none(t, "a question to the history", w.history.asked)
	says(t, client, d.tcp, "question")
	says(t, d.tcp, client, "answer")
}

func TestFakeAddressThatNothingStandsForIsReset(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}))
	w.isReset(staleFake)
	none(t, "a dial", w.direct.dials)
}

func TestSniffedNameDecidesOverAnySegmentation(t *testing.T) {
	for protocol, head := range map[string]string{
		"TLS":  clientHello("www.example.com", false),
		"HTTP": "GET / HTTP/1.1\r\nAccept: */*\r\nHost: www.example.com\r\n\r\n",
	} {
		for _, size := range []int{len(head), 40, 1} {
			t.Run(fmt.Sprintf("%s in pieces of %d", protocol, size), func(t *testing.T) {
				w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
				client := w.connect(literal)
				for rest := head; rest != ""; rest = rest[min(size, len(rest)):] {
					_, err := io.WriteString(client, rest[:min(size, len(rest))])
					ok(t, err)
				}
				d := w.dialled("node", w.node)
				if want := netip.AddrPortFrom(literal, w.port); d.host != "" || d.to != want {
					t.Errorf("dialled %q at %s, want no name, which nobody proved, at %s", d.host, d.to, want)
				}
				hears(t, d.tcp, head)
				says(t, d.tcp, client, "answer")
			})
		}
	}
}

func TestServerThatSpeaksFirstIsHeardWithin50ms(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	best := deadline
	for range 20 { // a busy machine may be late, but not each time
		began := time.Now()
		client := w.connect(literal)
		d := w.dialled("direct", w.direct)
		says(t, d.tcp, client, "220 ready")
		best = min(best, time.Since(began))
		says(t, client, d.tcp, "HELO")
	}
	if best >= 50*time.Millisecond {
		t.Errorf("heard the server after %s at best, want within 50ms", best)
	}
}

func TestBothSidesSpeakingAtOnceLoseNothing(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	for range 20 {
		client := w.connect(literal)
		d := w.dialled("direct", w.direct)
		go io.WriteString(client, "from the client")
		_, err := io.WriteString(d.tcp, "from the server")
		ok(t, err)
		hears(t, client, "from the server")
		hears(t, d.tcp, "from the client")
		none(t, "a second dial", w.direct.dials)
		client.Close()
		d.tcp.Close()
	}
}

func TestSilentClientChangesItsWayWhenItNamesItsServer(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	client := w.connect(literal)
	first := w.dialled("direct", w.direct)
	hello := clientHello("www.example.com", false)
	_, err := io.WriteString(client, hello)
	ok(t, err)
	second := w.dialled("node", w.node)
	hears(t, second.tcp, hello)
	ends(t, "the server of the first way", first.tcp, syscall.ECONNRESET)
	says(t, second.tcp, client, "answer")
}

func TestSilentClientKeepsItsConnectionIfItsNameChangesNothing(t *testing.T) {
	proven := addrRule("127.9.0.0/16", "node")
	tests := map[string]struct {
		rule    policy.Rule
		given   []string // what DNS told of the address
		address netip.Addr
		by      string // the name it is dialled by
		hello   string
	}{
		"directly":            {nameRule("www.example.com", "node"), nil, literal, "", "other.example"},
		"by a proven name":    {proven, []string{"www.example.com"}, literal, "www.example.com", "www.example.com"},
		"by a name of a fake": {nameRule("www.example.com", "node"), nil, fakeAddr, "www.example.com", "www.example.com"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			// The rule for SSH makes the first bytes worth waiting for.
			ssh := policy.Rule{Name: "ssh", Protocols: 1 << policy.SSH, Outbound: "reject"}
			w := newWorld(Limits{}, ssh, tt.rule)
			w.history.of[literal] = tt.given
			out := w.direct
			if tt.by != "" {
				out = w.node
			}
			tw := serveTCP(t, w)
			client := tw.connect(tt.address)
			d := tw.dialled("the way", out)
			if d.host != tt.by {
				t.Errorf("dialled %q, want %q", d.host, tt.by)
			}
			says(t, client, d.tcp, clientHello(tt.hello, false))
			none(t, "a second dial", out.dials)
		})
	}
}

func TestRefusedAddressIsSavedByItsName(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node"), addrRule("127.9.0.0/16", "reject")))
	client := w.connect(literal)
	next(t, "the end of the silence", w.history.asked)
	hello := clientHello("www.example.com", false)
	_, err := io.WriteString(client, hello)
	ok(t, err)
	hears(t, w.dialled("node", w.node).tcp, hello)
}

func TestRefusedAddressWithoutANameIsReset(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node"), addrRule("127.9.0.0/16", "reject")))
	client := w.connect(literal)
	next(t, "the end of the silence", w.history.asked)
	ok(t, client.CloseWrite())
	ends(t, "the client", client, syscall.ECONNRESET)
}

func TestClientThatEndsAtOnceStillListens(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	client := w.connect(literal)
	ok(t, client.CloseWrite())
	d := w.dialled("direct", w.direct)
	ends(t, "the server", d.tcp, io.EOF)
	says(t, d.tcp, client, "the quote of the day")
	d.tcp.Close()
	ends(t, "the client", client, io.EOF)
}

func TestClientThatEndsAtOnceLeavesByWhatDNSTold(t *testing.T) {
	w := newWorld(Limits{}, nameRule("www.example.com", "node"))
	w.history.of[literal] = []string{"www.example.com"}
	tw := serveTCP(t, w)
	ok(t, tw.connect(literal).CloseWrite())
	if d := tw.dialled("node", w.node); d.host != "www.example.com" {
		t.Errorf("dialled %q, want www.example.com, for which the client was given the address", d.host)
	}
}

func TestHeadThatComesByteAfterByteIsPassedOn(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	client := w.connect(literal)
	hello := clientHello("www.example.com", false)
	_, err := io.WriteString(client, hello[:1])
	ok(t, err)
	d := w.dialled("direct", w.direct) // the sniffer has given up, not closed
	hears(t, d.tcp, hello[:1])
	for i := 1; i < 10; i++ {
		says(t, client, d.tcp, hello[i:i+1])
	}
}

func TestHeadLargerThanTheBufferIsPassedOnWhole(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	client := w.connect(literal)
	var head strings.Builder // a hello of 16,000 bytes, one to a record
	for _, b := range append([]byte{1, 0, 0x3e, 0x80}, make([]byte, 8000)...) {
		head.Write([]byte{22, 3, 1, 0, 1, b})
	}
	go io.WriteString(client, head.String())
	hears(t, w.dialled("direct", w.direct).tcp, head.String())
}

func TestFailedDialResetsTheClient(t *testing.T) {
	for _, tt := range []struct {
		why  syscall.Errno
		want State
	}{{syscall.EHOSTUNREACH, Down}, {syscall.ECONNREFUSED, Up}} { // who refuses is there
		w := newWorld(Limits{})
		w.direct.fail(tt.why)
		tw := serveTCP(t, w)
		tw.isReset(literal)
		if got := w.Status().Outbounds["direct"].State; got != tt.want {
			t.Errorf("%v: state of the outbound is %s, want %s", tt.why, got, tt.want)
		}
	}
}

func TestResetDuringTheSilenceIsMirrored(t *testing.T) {
	for _, who := range []string{"the client", "the server"} {
		t.Run("of "+who, func(t *testing.T) {
			w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
			client := w.connect(literal)
			server := w.dialled("direct", w.direct).tcp
			from, to := client, server
			if who == "the server" {
				from, to = server, client
			}
			ok(t, from.SetLinger(0))
			ok(t, from.Close())
			ends(t, "the other side", to, syscall.ECONNRESET)
		})
	}
}

func TestStopEndsSilentClients(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node"), addrRule("127.7.0.0/16", "reject")))
	waiting := w.connect(literal)
	w.dialled("direct", w.direct)
	refused := w.connect(netip.MustParseAddr("127.7.0.1"))
	for next(t, "the silence of the refused client", w.history.asked) == literal {
	}
	w.stop()
	for who, c := range map[string]net.Conn{"the waiting client": waiting, "the refused client": refused} {
		ends(t, who, c, syscall.ECONNRESET)
	}
}

func TestFlowKeepsThePlanThatItBeganWith(t *testing.T) {
	w := newWorld(Limits{}, nameRule("www.example.com", "node"))
	other := w.planOf()
	w.devices.onLook = func() { w.SetPlan(other) }
	tw := serveTCP(t, w)
	tw.connect(fakeAddr)
	tw.dialled("node", w.node)
	tw.connect(fakeAddr)
	tw.dialled("direct", w.direct)
}

func TestDeviceThatHasItsShareOfConnectionsIsReset(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{TCP: 3, TCPIdle: deadline}))
	first := w.connect(literal)
	server := w.dialled("direct", w.direct).tcp
	w.connect(literal)
	w.dialled("direct", w.direct)
	w.isReset(literal) // the third of three

	first.Close()
	ends(t, "the first server", server, io.EOF)
	server.Close()
	until(t, "a free place", func() bool { return w.Status().TCP < 2 })
	w.connect(literal)
	w.dialled("direct", w.direct)
}
