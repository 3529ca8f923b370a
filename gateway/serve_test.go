package gateway

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/tproxy"
	"github.com/fairlead/fairlead/nft/nstest"
)

func TestStatusCountsWhatConnectionsCarried(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	client := w.connect(literal)
	hello := clientHello("www.example.com", false)
	_, err := io.WriteString(client, hello)
	ok(t, err)
	d := w.dialled("node", w.node)
	hears(t, d.tcp, hello)
	large := strings.Repeat("x", 100<<10) // spliced
	go io.WriteString(d.tcp, large)
	hears(t, client, large)
	want := OutboundStatus{State: Up, Flows: 1, TxBytes: int64(len(hello)), RxBytes: int64(len(large))}
	until(t, "the bytes so far", func() bool { return w.Status().TCP == 1 && w.Status().Outbounds["node"] == want })
	client.Close()
	ends(t, "the server", d.tcp, io.EOF)
	d.tcp.Close()
	until(t, "the end of the connection", func() bool { return w.Status().TCP == 0 })
	want.Flows = 0
	if got := w.Status().Outbounds["node"]; got != want {
		t.Errorf("status of the node is %+v, want %+v", got, want)
	}
}

func TestServeUDPCarriesDatagramsAndClosesFlowsAtItsEnd(t *testing.T) {
	leavesNothing(t)
	ns, err := nstest.New("gateway")
	ok(t, err)
	defer ns.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var l *tproxy.UDPListener
	ok(t, ns.Do(func() (err error) {
		l, err = tproxy.ListenUDP(ctx, netip.MustParseAddrPort("0.0.0.0:4430"))
		return err
	}))
	w := newWorld(Limits{})
	served := make(chan error, 1)
	go func() { served <- w.ServeUDP(ctx, l) }()

	to := netip.AddrPortFrom(literal, 4430)
	client, err := ns.Dial(ctx, "udp4", netip.AddrPort{}, to)
	ok(t, err)
	defer client.Close()
	_, err = io.WriteString(client, "question")
	ok(t, err)
	d := next(t, "a dial", w.direct.dials)
	if got, want := next(t, "a datagram", d.udp.sent), (message{"question", to}); got != want {
		t.Errorf("sent on %v, want %v", got, want)
	}
	d.udp.answers <- message{"answer", to}
	from := client.LocalAddr().(*net.UDPAddr).AddrPort()
	if got, want := next(t, "an answer", w.sender.sent), (answer{"answer", to, from}); got != want {
		t.Errorf("the client got %v, want %v", got, want)
	}
	cancel()
	if err := next(t, "the end of ServeUDP", served); err != nil {
		t.Errorf("ServeUDP = %v, want nil after its context ended", err)
	}
	if !d.udp.isClosed() || w.Status().UDP != 0 {
		t.Errorf("got %d flows and a socket closed: %v, want none and true", w.Status().UDP, d.udp.isClosed())
	}
}
