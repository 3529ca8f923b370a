package gateway

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// udpWorld is a world in a bubble: its time passes when everything waits.
type udpWorld struct {
	*world
	ctx context.Context
}

var (
	clientA = netip.MustParseAddrPort("127.0.0.1:40000")
	clientB = netip.MustParseAddrPort("127.0.0.2:40000")
	peer    = netip.AddrPortFrom(literal, 443)
	other   = netip.MustParseAddrPort("127.9.0.2:443")
	faked   = netip.AddrPortFrom(fakeAddr, 443)
)

// inBubble runs a test on a world, and fails it if anything of a flow is left
// once all are closed.
func inBubble(t *testing.T, limits Limits, rules []policy.Rule, test func(t *testing.T, w *udpWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := &udpWorld{world: newWorld(limits, rules...), ctx: ctx}
		test(t, w)
		cancel()
		synctest.Wait()
		w.udp.closeAll()
		synctest.Wait()
		time.Sleep(refusedFor + time.Second)
		w.udp.forgetShares()
		s := w.udp
		if len(s.flows)+len(s.mappings)+len(s.shares)+s.pending+w.names.count(0) != 0 {
			t.Errorf("at the end got %d flows, %d mappings, %d shares, %d pending and %d addresses held, want none",
				len(s.flows), len(s.mappings), len(s.shares), s.pending, w.names.count(0))
		}
	})
}

// send delivers datagrams of a client and waits until all is done.
func (w *udpWorld) send(from, to netip.AddrPort, payloads ...string) {
	for _, p := range payloads {
		w.udp.deliver(w.ctx, []byte(p), from, to)
	}
	synctest.Wait()
}

// taken gives all that is in ch, once everything waits.
func taken[T any](ch chan T) (all []T) {
	synctest.Wait()
	for len(ch) > 0 {
		all = append(all, <-ch)
	}
	return all
}

// same fails unless got and want are equal.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %.200q, want %.200q", what, g, w)
	}
}

// payloads are those of messages, in order.
func payloads(messages []message) (all []string) {
	for _, m := range messages {
		all = append(all, m.payload)
	}
	return all
}

// quicHello is the first flight of a client of quic.example.com, two datagrams.
func quicHello(t testing.TB) []string {
	t.Helper()
	file, err := os.Open("../sniff/testdata/quic/quic-go-v1.hex")
	ok(t, err)
	defer file.Close()
	var all []string
	for lines := bufio.NewScanner(file); lines.Scan() && len(all) < 2; {
		if b, err := hex.DecodeString(lines.Text()); err == nil && len(b) > 0 {
			all = append(all, string(b))
		}
	}
	if len(all) != 2 {
		t.Fatalf("read %d datagrams of a QUIC hello, want 2", len(all))
	}
	return all
}

func TestQUICHelloOverTwoDatagramsDecidesAndIsReplayedInOrder(t *testing.T) {
	hello := quicHello(t)
	for name, order := range map[string][]string{"in order": hello, "out of order": {hello[1], hello[0]}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Limits{}, []policy.Rule{nameRule("quic.example.com", "node")}, func(t *testing.T, w *udpWorld) {
				w.send(clientA, peer, order[0])
				none(t, "a dial before the hello is whole", w.node.dials)
				w.send(clientA, peer, order[1], "more", "and more")
				d := next(t, "a dial through node", w.node.dials)
				sent := taken(d.udp.sent)
				same(t, "datagrams sent on", payloads(sent), append(order[:2:2], "more", "and more"))
				same(t, "their destination", sent[0].peer, peer)
				none(t, "a dial directly", w.direct.dials)
			})
		})
	}
}

func TestQUICHelloThatStaysInPartsLeavesByItsAddress(t *testing.T) {
	hello := quicHello(t)
	quic := policy.Rule{Name: "quic", Protocols: 1 << policy.QUIC, Outbound: "node"}
	inBubble(t, Limits{}, []policy.Rule{nameRule("quic.example.com", "reject"), quic}, func(t *testing.T, w *udpWorld) {
		began := time.Now()
		w.send(clientA, peer, hello[0])
		d := next(t, "a dial through node", w.node.dials)
		same(t, "time until the dial", time.Since(began), undecided)
		same(t, "datagrams sent on", payloads(taken(d.udp.sent)), hello[:1])
	})
}

func TestOtherDatagramsAreNotHeld(t *testing.T) {
	inBubble(t, Limits{}, []policy.Rule{nameRule("quic.example.com", "node")}, func(t *testing.T, w *udpWorld) {
		began := time.Now()
		w.send(clientA, peer, "hi")
		d := next(t, "a dial directly", w.direct.dials)
		same(t, "datagrams sent on", payloads(taken(d.udp.sent)), []string{"hi"})
		same(t, "time until then", time.Since(began), time.Duration(0))
	})
}

func TestDatagramsHeldAreBounded(t *testing.T) {
	limits := Limits{UDP: 64, PendingUDP: 8, PendingBytes: 1000, UDPIdle: time.Minute}
	for name, tt := range map[string]struct{ size, want int }{
		"in number": {1, maxHeld},
		"in bytes":  {300, 3},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, limits, nil, func(t *testing.T, w *udpWorld) {
				open := w.direct.shut()
				for range 30 {
					w.send(clientA, peer, strings.Repeat("x", tt.size))
				}
				open()
				d := next(t, "a dial", w.direct.dials)
				if got := len(taken(d.udp.sent)); got != tt.want {
					t.Errorf("got %d of 30 datagrams of %d bytes, want %d", got, tt.size, tt.want)
				}
				w.send(clientA, peer, "after")
				same(t, "sent once open", payloads(taken(d.udp.sent)), []string{"after"})
			})
		})
	}
}

func TestFakePeerIsDialledByNameAndAnswersFromItsAddress(t *testing.T) {
	inBubble(t, Limits{}, []policy.Rule{nameRule("www.example.com", "node")}, func(t *testing.T, w *udpWorld) {
		w.send(clientA, faked, "question")
		d := next(t, "a dial through node", w.node.dials)
		if d.host != "www.example.com" || d.to.Port() != 443 || d.to.Addr().IsValid() {
			t.Errorf("dialled %q at %s, want www.example.com at port 443", d.host, d.to)
		}
		same(t, "datagrams sent on", payloads(taken(d.udp.sent)), []string{"question"})
		d.udp.answers <- message{payload: "answer"}
		same(t, "what the client got", taken(w.sender.sent), []answer{{"answer", faked, clientA}})
		same(t, "addresses held", w.names.count(0), 1)
		none(t, "a question to the history", w.history.asked)
	})
}

func TestLiteralPeersOfOneSocketShareAMappingUntilTheLastIsIdle(t *testing.T) {
	inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
		w.send(clientA, peer, "one")
		w.send(clientA, other, "two")
		dials := taken(w.direct.dials)
		if len(dials) != 1 {
			t.Fatalf("got %d mappings for two peers of one socket, want 1", len(dials))
		}
		same(t, "datagrams sent on", taken(dials[0].udp.sent), []message{{"one", peer}, {"two", other}})
		w.send(clientB, peer, "three")
		same(t, "mappings of another socket", len(taken(w.direct.dials)), 1)

		go w.Sweep(w.ctx)
		for range 3 {
			time.Sleep(defaultUDPIdle / 2)
			w.send(clientA, other, "still here")
		}
		same(t, "flows after a while", w.udp.count(), 1)
		if dials[0].udp.isClosed() {
			t.Error("the mapping is closed while one of its flows is open")
		}
		time.Sleep(defaultUDPIdle + 2*sweepEvery)
		same(t, "flows at the end", w.udp.count(), 0)
		if !dials[0].udp.isClosed() {
			t.Error("the mapping is open without a flow, want it closed with the last one")
		}
	})
}

func TestFlowThatOnlyReceivesStaysOpen(t *testing.T) {
	inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
		w.send(clientA, peer, "subscribe")
		d := next(t, "a dial", w.direct.dials)
		go w.Sweep(w.ctx)
		for range 4 {
			time.Sleep(defaultUDPIdle / 2)
			d.udp.answers <- message{"news", peer}
			synctest.Wait()
		}
		same(t, "flows", w.udp.count(), 1)
	})
}

func TestMappingPassesOnWhatAnyPeerSends(t *testing.T) {
	stranger := netip.MustParseAddrPort("203.0.113.9:9")
	inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
		w.send(clientA, peer, "hello")
		d := next(t, "a dial", w.direct.dials)
		for _, m := range []message{
			{"from the peer", peer},
			{"from a stranger", stranger},
			{"mapped", netip.AddrPortFrom(netip.AddrFrom16(stranger.Addr().As16()), 9)},
			{"of another family", netip.MustParseAddrPort("[2001:db8::1]:443")},
			{"from nowhere", netip.AddrPort{}},
			{strings.Repeat("x", maxDatagram+1), peer},
			{"last", peer},
		} {
			d.udp.answers <- m
		}
		same(t, "what the client got", taken(w.sender.sent), []answer{
			{"from the peer", peer, clientA}, {"from a stranger", stranger, clientA},
			{"mapped", stranger, clientA}, {"last", peer, clientA},
		})
	})
}

func TestRefusedFlowIsRememberedForAMoment(t *testing.T) {
	tests := map[string]struct {
		to    netip.AddrPort
		rules []policy.Rule
		err   error
	}{
		"by a rule":                  {peer, []policy.Rule{addrRule("127.9.0.0/16", "reject")}, nil},
		"by a dead outbound":         {peer, nil, syscall.EHOSTUNREACH},
		"by a dead outbound, a name": {faked, nil, syscall.EHOSTUNREACH},
		"as nothing stands for it":   {netip.AddrPortFrom(staleFake, 443), nil, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Limits{}, tt.rules, func(t *testing.T, w *udpWorld) {
				looks := 0
				w.devices.onLook = func() { looks++ }
				w.direct.fail(tt.err)
				for range 3 {
					w.send(clientA, tt.to, "question")
				}
				same(t, "times it was opened", looks, 1)
				refusal := answer{"", tt.to, clientA}
				same(t, "refusals", taken(w.sender.refused), []answer{refusal, refusal, refusal})

				time.Sleep(refusedFor)
				synctest.Wait()
				same(t, "flows after a while", w.udp.count(), 0)
				w.direct.fail(nil)
				w.send(clientA, tt.to, "question")
				same(t, "times it was opened by then", looks, 2)
			})
		})
	}
}

func TestDialThatHangsIsRefusedWithinFiveSeconds(t *testing.T) {
	inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
		w.direct.shut()
		began := time.Now()
		w.send(clientA, peer, "question")
		next(t, "a refusal", w.sender.refused)
		if took := time.Since(began); took >= 5*time.Second {
			t.Errorf("refused after %s, want less than 5s", took)
		}
		same(t, "state of the outbound", w.Status().Outbounds["direct"].State, Down)
	})
}

func TestFlowAbandonedWhileOpeningIsClosedOnceOpen(t *testing.T) {
	for name, to := range map[string]netip.AddrPort{"literal": peer, "fake": faked} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
				open := w.direct.shut()
				w.send(clientA, to, "question")
				w.udp.closeAll()
				same(t, "flows while opening", w.udp.count(), 1)
				open()
				synctest.Wait()
				same(t, "flows once open", w.udp.count(), 0)
				if d := next(t, "a dial", w.direct.dials); !d.udp.isClosed() {
					t.Error("the socket is open, want it closed with its flow")
				}
			})
		})
	}
}

func TestBrokenMappingIsDialledAgainByTheNextDatagram(t *testing.T) {
	for name, to := range map[string]netip.AddrPort{"shared": peer, "own": faked} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
				w.send(clientA, to, "one")
				first := next(t, "a dial", w.direct.dials)
				first.udp.broken <- errors.New("the node ended the association")
				synctest.Wait()
				same(t, "flows of the broken mapping", w.udp.count(), 0)
				if !first.udp.isClosed() {
					t.Error("the broken socket is open, want it closed")
				}
				w.send(clientA, to, "two")
				d := next(t, "another dial", w.direct.dials)
				same(t, "datagrams sent on", payloads(taken(d.udp.sent)), []string{"two"})
			})
		})
	}
}

func TestNoFlowJoinsABrokenMapping(t *testing.T) {
	inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
		w.send(clientA, peer, "one")
		first := next(t, "a dial", w.direct.dials)
		// A flow that is still opening keeps its place for a moment longer.
		w.udp.mu.Lock()
		opening := w.udp.admit(udpKey{clientA, other})
		w.udp.mu.Unlock()
		w.udp.join(opening, mappingKey{clientA, "direct", false}, nil)
		first.udp.broken <- errors.New("the node ended the association")
		synctest.Wait()

		w.send(clientA, peer, "two")
		d := next(t, "another dial", w.direct.dials)
		same(t, "datagrams sent on", payloads(taken(d.udp.sent)), []string{"two"})
		w.udp.opened(opening)
		opening.refuse(nil)
		opening.close(nil)
		if !first.udp.isClosed() || d.udp.isClosed() {
			t.Errorf("closed are the broken socket %v and the new one %v, want the first only", first.udp.isClosed(), d.udp.isClosed())
		}
	})
}

func TestFlowIsClosedWhenItsSocketIs(t *testing.T) {
	inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
		w.send(clientA, faked, "one")
		next(t, "a dial", w.direct.dials).udp.Close()
		synctest.Wait()
		w.send(clientA, faked, "two")
		next(t, "another dial", w.direct.dials)
	})
}

func TestRefusalOfThePeerIsPassedOn(t *testing.T) {
	inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
		w.send(clientA, faked, "one")
		d := next(t, "a dial", w.direct.dials)
		d.udp.broken <- &net.OpError{Op: "read", Err: os.NewSyscallError("recvfrom", syscall.ECONNREFUSED)}
		same(t, "refusals", taken(w.sender.refused), []answer{{"", faked, clientA}})
	})
}

func TestStatusCountsWhatUDPFlowsCarried(t *testing.T) {
	inBubble(t, Limits{}, nil, func(t *testing.T, w *udpWorld) {
		w.send(clientA, peer, "four")
		d := next(t, "a dial", w.direct.dials)
		d.udp.answers <- message{"seven b", peer}
		synctest.Wait()
		got := w.Status()
		want := OutboundStatus{State: Up, Flows: 1, TxBytes: 4, RxBytes: 7}
		if got.UDP != 1 || got.Outbounds["direct"] != want {
			t.Errorf("status under way is %d flows and %+v, want 1 and %+v", got.UDP, got.Outbounds["direct"], want)
		}
		w.udp.closeAll()
		got, want.Flows = w.Status(), 0
		if got.UDP != 0 || got.Outbounds["direct"] != want {
			t.Errorf("status after the end is %d flows and %+v, want none and %+v", got.UDP, got.Outbounds["direct"], want)
		}
	})
}
