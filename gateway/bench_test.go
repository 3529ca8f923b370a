package gateway

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// silentWay takes datagrams and never answers, so that a benchmark measures
// the gateway alone.
type silentWay struct{ *way }

type silentSocket struct{ *socket }

func (silentSocket) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) { return len(b), nil }

func (silentWay) ListenUDP(context.Context, bool) (PacketConn, error) {
	return silentSocket{newSocket()}, nil
}

func BenchmarkDeliverToAnOpenFlow(b *testing.B) {
	w := newWorld(Limits{})
	w.plan.Outbounds["direct"] = silentWay{w.direct}
	payload := make([]byte, 1200)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.udp.deliver(ctx, payload, clientA, peer)
	until(b, "an open flow", func() bool { return w.Status().Outbounds["direct"].Flows == 1 && w.udp.pendingNow() == 0 })
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		w.udp.deliver(ctx, payload, clientA, peer)
	}
	w.udp.closeAll()
}

func (s *sessions) pendingNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending
}

// BenchmarkOpeningByFakeName is a connection from connect to its first answer
// and end; most of it is the kernel's, for three sockets of loopback.
func BenchmarkOpeningByFakeName(b *testing.B) {
	w := newWorld(Limits{}, nameRule("www.example.com", "node"))
	echo := echoServer(b)
	w.plan.Outbounds["node"] = dialWay{w.node, echo}
	tw := serveTCP(b, w)
	buf := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		c, err := tw.dial(fakeAddr)
		ok(b, err)
		_, err = c.Write(buf)
		ok(b, err)
		_, err = io.ReadFull(c, buf)
		ok(b, err)
		c.Close()
	}
}

// dialWay dials one server, whatever it is asked for.
type dialWay struct {
	*way
	server string
}

func (w dialWay) DialTCP(ctx context.Context, _ string, _ netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp4", w.server)
}

func echoServer(b *testing.B) (addr string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ok(b, err)
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(deadline))
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}
