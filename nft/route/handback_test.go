package route_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/gateway/tproxy"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/mark"
	"github.com/fairlead/fairlead/nft/nstest"
	"github.com/fairlead/fairlead/nft/route"
)

// heldDatagrams is how many the daemon of the tests needs to know a name, as
// with QUIC hellos.
const heldDatagrams = 2

// tuple is a UDP flow as the client began it.
type tuple struct{ client, dialled netip.AddrPort }

// handler is a daemon that hands flows to the servers' port back and answers
// all others by itself.
type handler struct {
	*world
	conntrack *route.Conntrack
	sender    *tproxy.Sender

	mu   sync.Mutex // guards the fields below
	seen map[tuple]int
	held map[tuple][][]byte // nil once handed back
}

func (w *world) startHandler() *handler {
	w.Helper()
	h := &handler{world: w, seen: map[tuple]int{}, held: map[tuple][][]byte{}}
	w.must(w.router.Do(func() (err error) {
		if h.conntrack, err = route.OpenConntrack(); err == nil {
			h.sender, err = tproxy.NewSender()
		}
		return err
	}))
	w.Cleanup(func() { h.conntrack.Close(); h.sender.Close() })
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(loopback), nft.GatewayPort)
		var l *tproxy.UDPListener
		w.must(w.router.Do(func() (err error) {
			l, err = tproxy.ListenUDP(context.Background(), at)
			return err
		}))
		done := make(chan struct{})
		w.Cleanup(func() { l.Close(); <-done })
		go func() {
			defer close(done)
			h.serve(l)
		}()
	}
	w.beat()
	return h
}

// beat has the table believe in a daemon until the test ends.
func (w *world) beat() {
	w.must(w.table.Beat())
	ticks, stop := time.NewTicker(time.Second), make(chan struct{})
	w.Cleanup(func() { ticks.Stop(); close(stop) })
	go func() {
		for {
			select {
			case <-ticks.C:
				w.table.Beat()
			case <-stop:
				return
			}
		}
	}()
}

func (h *handler) serve(l *tproxy.UDPListener) {
	for {
		payload, client, dialled, err := l.Read()
		if err != nil {
			return
		}
		flow := tuple{client, dialled}
		if err := h.take(flow, append([]byte(nil), payload...)); err != nil {
			h.Errorf("taking a datagram of %v: %v", flow, err)
		}
	}
}

// take holds the first datagrams of a flow, hands it back, and sends again what
// still comes.
func (h *handler) take(flow tuple, payload []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[flow]++
	if flow.dialled.Port() != udpPort {
		return h.sender.Send(fmt.Appendf(nil, "%s daemon", payload), flow.dialled, flow.client)
	}
	held, known := h.held[flow]
	if known && held == nil {
		return h.resend(flow, [][]byte{payload})
	}
	held = append(held, payload)
	h.held[flow] = held
	if len(held) < heldDatagrams {
		return nil
	}
	h.held[flow] = nil
	if err := h.table.HandBack(flow.client, flow.dialled); err != nil {
		return err
	}
	if err := h.conntrack.DeleteFlow(flow.client, flow.dialled); err != nil {
		return err
	}
	return h.resend(flow, held)
}

func (h *handler) resend(flow tuple, datagrams [][]byte) error {
	return h.router.Do(func() error { return tproxy.Resend(flow.client, flow.dialled, datagrams, mark.Own) })
}

// count is how many datagrams of a flow the daemon has had.
func (h *handler) count(flow tuple) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen[flow]
}

func TestAFlowThatIsHandedBackLosesNothingAndLeavesMasqueraded(t *testing.T) {
	for _, tt := range []struct{ client, server, router netip.Addr }{
		{netip.MustParseAddr("192.168.77.2"), server4, netip.MustParseAddr("203.0.113.1")},
		{netip.MustParseAddr("2001:db8:77::2"), server6, netip.MustParseAddr("2001:db8:f::1")},
	} {
		t.Run(tt.server.String(), func(t *testing.T) {
			w := newWorld(t)
			h := w.startHandler()
			seen, err := nstest.Start(w.router, "wan0")
			w.must(err)
			defer seen.Close()
			flow := tuple{netip.AddrPortFrom(tt.client, 4000), netip.AddrPortFrom(tt.server, udpPort)}
			other := tuple{flow.client, netip.AddrPortFrom(tt.server, 444)}
			c, err := w.client.ListenUDP(flow.client)
			w.must(err)
			defer c.Close()

			w.exchange(c, other.dialled, 0, 10, "daemon")
			want := "wan sees " + tt.router.String()
			w.exchange(c, flow.dialled, 0, 1000, want)
			early := h.count(flow)
			w.exchange(c, other.dialled, 10, 20, "daemon")
			w.exchange(c, flow.dialled, 1000, 3000, want)
			if got := h.count(flow); got != early || early >= 1000 {
				t.Errorf("the daemon has had %d datagrams of the flow after 1000 and %d after 3000, want the first of them only", early, got)
			}
			if got := h.count(other); got != 20 {
				t.Errorf("the daemon has had %d datagrams of the client's other flow, want all 20", got)
			}
			w.nothingPrivate(seen)
		})
	}
}

// exchange sends numbered datagrams without a pause, some ahead of the answers,
// and wants an answer to each.
func (w *world) exchange(c *net.UDPConn, to netip.AddrPort, first, behind int, want string) {
	w.Helper()
	const ahead = 32
	missing := map[string]bool{}
	buf := make([]byte, 2048)
	for next := first; next < behind || len(missing) > 0; {
		if next < behind && len(missing) < ahead {
			text := fmt.Sprint(next)
			if _, err := c.WriteToUDPAddrPort([]byte(text), to); err != nil {
				w.Fatalf("sending datagram %s to %s: %v", text, to, err)
			}
			missing[text] = true
			next++
			continue
		}
		c.SetDeadline(time.Now().Add(deadline)) // of each: a machine may be slow
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			w.Fatalf("%d of the datagrams to %s up to %d have no answer: %v", len(missing), to, next, err)
		}
		number, rest, _ := strings.Cut(string(buf[:n]), " ")
		if from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); from != to || rest != want {
			w.Fatalf("the answer to %s is %q from %s, want %q from %s", number, rest, from, want, to)
		}
		delete(missing, number)
	}
}

// nothingPrivate checks that no address of the LAN was seen as a source.
func (w *world) nothingPrivate(seen *nstest.Capture) {
	w.Helper()
	packets, err := seen.Packets()
	w.must(err)
	udp := 0
	for _, p := range packets {
		s, ok := p.Segment()
		if !ok || !p.Outgoing {
			continue
		}
		if s.Proto == nstest.UDP {
			udp++
		}
		for _, lan := range prefixes("192.168.77.0/24", "2001:db8:77::/64") {
			if lan.Contains(s.Src.Addr()) {
				w.Fatalf("a packet from %s to %s is on the WAN, want none of a LAN address", s.Src, s.Dst)
			}
		}
	}
	if udp < 1000 {
		w.Errorf("%d datagrams were captured, want those of the flow", udp)
	}
}

func TestAPortForwardOutlivesTheHandBackOfAFlowFromItsPort(t *testing.T) {
	w := newWorld(t)
	h := w.startHandler()
	client := netip.MustParseAddrPort("192.168.77.2:5000")
	w.must(forward(w.router, 5000, client.Addr()))
	c, err := w.client.ListenUDP(client)
	w.must(err)
	defer c.Close()
	outside, err := w.wan.ListenUDP(netip.MustParseAddrPort("203.0.113.9:6000"))
	w.must(err)
	defer outside.Close()

	w.knock(outside, c, "before")
	w.exchange(c, netip.AddrPortFrom(server4, udpPort), 0, 100, "wan sees 203.0.113.1")
	w.knock(outside, c, "after")
	if got := h.count(tuple{client, netip.MustParseAddrPort("203.0.113.9:6000")}); got != 0 {
		t.Errorf("the daemon has had %d answers of the port forward, want none", got)
	}
}

// knock sends from outside to the forwarded port and back.
func (w *world) knock(outside, inside *net.UDPConn, when string) {
	w.Helper()
	router := netip.MustParseAddrPort("203.0.113.1:5000")
	buf := make([]byte, 2048)
	for _, c := range []*net.UDPConn{outside, inside} {
		c.SetDeadline(time.Now().Add(deadline))
	}
	if _, err := outside.WriteToUDPAddrPort([]byte("knock"), router); err != nil {
		w.Fatal(err)
	}
	_, from, err := inside.ReadFromUDPAddrPort(buf)
	if err != nil {
		w.Fatalf("%s, the forwarded port gets %v, want a datagram", when, reason(err))
	}
	if _, err := inside.WriteToUDPAddrPort([]byte("come in"), from); err != nil {
		w.Fatal(err)
	}
	_, from, err = outside.ReadFromUDPAddrPort(buf)
	if err != nil || from != router {
		w.Fatalf("%s, the answer from the forwarded port is from %s, %v, want %s", when, from, err, router)
	}
}

// forward is a port forward of the router's firewall.
func forward(ns *nstest.NS, port uint16, to netip.Addr) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns.Fd()))
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "dstnat", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	device := make([]byte, unix.IFNAMSIZ)
	copy(device, "wan0")
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: device},
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(port >> 8), byte(port)}},
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
	return conn.Flush()
}
