package gateway

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestOneDeviceCannotTakeAllConnections(t *testing.T) {
	c := newCensus(9)
	greedy, modest := policy.Device{Addr: clientA.Addr()}.Key(), policy.Device{Addr: clientB.Addr()}.Key()
	took := 0
	for range 9 {
		if c.enter(greedy) {
			took++
		}
	}
	if took != 6 {
		t.Errorf("one device took %d of 9 places, want two thirds", took)
	}
	for i := range 4 {
		if got, want := c.enter(modest), i < 3; got != want {
			t.Errorf("entry %d of the other device is %v, want %v", i+1, got, want)
		}
	}
	c.leave(greedy)
	if !c.enter(modest) {
		t.Error("a place that was left is not free, want it to be")
	}
	for range 5 {
		c.leave(greedy)
	}
	for range 4 {
		c.leave(modest)
	}
	if c.total() != 0 || len(c.each) != 0 {
		t.Errorf("got %d connections of %d devices when all have left, want none", c.total(), len(c.each))
	}
}

func TestIdlestFlowMakesRoomWhereAClientHasItsQuarter(t *testing.T) {
	limits := Limits{UDP: 16, PendingUDP: 8, PendingBytes: 1000, UDPIdle: time.Hour}
	inBubble(t, limits, nil, func(t *testing.T, w *udpWorld) {
		to := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(literal, port) }
		w.send(clientB, to(1), "of another client")
		for port := uint16(1); port <= 4; port++ {
			w.send(clientA, to(port), "first")
			time.Sleep(time.Second)
		}
		w.send(clientA, to(1), "so that the second is idle for longest")
		w.udp.deliver(w.ctx, []byte("one too many"), clientA, to(5))
		w.send(clientA, to(6), "two too many, while the first to go is being closed")
		want := map[udpKey]bool{{clientB, to(1)}: true, {clientA, to(1)}: true, {clientA, to(4)}: true, {clientA, to(5)}: true, {clientA, to(6)}: true}
		got := make(map[udpKey]bool)
		for key := range w.udp.flows {
			got[key] = true
		}
		same(t, "flows that stay", got, want)
		same(t, "all datagrams sent on", len(taken(next(t, "B's dial", w.direct.dials).udp.sent))+
			len(taken(next(t, "A's dial", w.direct.dials).udp.sent)), 8)
	})
}

func TestOneClientCannotTakeAllPendingFlows(t *testing.T) {
	limits := Limits{UDP: 64, PendingUDP: 8, PendingBytes: 1000, UDPIdle: time.Hour}
	inBubble(t, limits, nil, func(t *testing.T, w *udpWorld) {
		open := w.direct.shut()
		for _, from := range []netip.AddrPort{clientA, clientB} {
			for port := range uint16(10) {
				w.send(from, netip.AddrPortFrom(literal, 1+port), "question")
			}
		}
		pending := make(map[netip.Addr]int)
		for key := range w.udp.flows {
			pending[key.client.Addr()]++
		}
		same(t, "pending flows by client", pending, map[netip.Addr]int{clientA.Addr(): 4, clientB.Addr(): 4})

		open()
		synctest.Wait()
		w.send(clientA, netip.AddrPortFrom(literal, 10), "question")
		same(t, "flows once those are open", w.udp.count(), 9)
	})
}

func TestNewFlowsOfAClientComeAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &share{tokens: newFlowsBurst, filled: time.Now()}
		take := func(tries int) (took int) {
			for range tries {
				if sh.take() {
					took++
				}
			}
			return took
		}
		same(t, "flows at once", take(5000), newFlowsBurst)
		time.Sleep(time.Second)
		same(t, "flows a second later", take(5000), newFlowsPerSecond)
		time.Sleep(time.Hour)
		same(t, "flows after an hour", take(5000), newFlowsBurst)
	})
}

func TestForgedSendersLeaveNothingBehind(t *testing.T) {
	limits := Limits{UDP: 8, PendingUDP: 8, PendingBytes: 1000, UDPIdle: time.Minute}
	inBubble(t, limits, nil, func(t *testing.T, w *udpWorld) {
		forged := netip.MustParseAddr("10.0.0.0")
		for range 1000 {
			forged = forged.Next()
			w.udp.deliver(w.ctx, []byte("x"), netip.AddrPortFrom(forged, 1), peer)
		}
		if flows, shares := len(w.udp.flows), len(w.udp.shares); flows > limits.UDP || shares > limits.UDP {
			t.Errorf("got %d flows and %d shares, want no more than %d", flows, shares, limits.UDP)
		}
		synctest.Wait()
		time.Sleep(2 * limits.UDPIdle)
		w.udp.sweep() // closes the flows
		time.Sleep(time.Minute)
		w.udp.sweep()
		same(t, "shares after a while", len(w.udp.shares), 0)
	})
}
