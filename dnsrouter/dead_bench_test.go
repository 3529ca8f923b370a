package dnsrouter

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// socket is a UDP socket as ServeUDP wants it. Clients on loopback are told
// apart by their addresses.
type socket struct {
	*net.UDPConn
	buf [1500]byte
}

func (s *socket) Read() ([]byte, netip.AddrPort, netip.AddrPort, error) {
	n, from, err := s.ReadFromUDPAddrPort(s.buf[:])
	return s.buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), serverPort, err
}

func (s *socket) Send(b []byte, _, to netip.AddrPort) error {
	_, err := s.WriteToUDPAddrPort(b, to)
	return err
}

func openSocket(b *testing.B, addr string) *net.UDPConn {
	b.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// BenchmarkAnswersWhileEveryUpstreamIsDead asks over UDP for names that need no
// upstream, while all places of those that do are taken, and more are asked for.
func BenchmarkAnswersWhileEveryUpstreamIsDead(b *testing.B) {
	l := newLAN(b, nil)
	l.ask(netip.MustParseAddr("127.0.0.1"), "known.direct.example", dns.TypeA)
	l.stuck()
	server := &socket{UDPConn: openSocket(b, "127.0.0.1:0")}
	go l.ServeUDP(b.Context(), server, server, nil)
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	for n := range 4 {
		flood := openSocket(b, fmt.Sprintf("127.0.0.%d:0", 10+n))
		go func() {
			for i := 0; ; i++ {
				if _, err := flood.WriteToUDPAddrPort(packed(b, 1, fmt.Sprintf("r%d.direct.example.", i), dns.TypeA), to); err != nil {
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		}()
	}
	time.Sleep(2 * time.Second)

	client, buf := openSocket(b, "127.0.0.1:0"), make([]byte, 1500)
	names := []string{"known.direct.example.", "known.node.example.", "nas.lan."}
	var took []time.Duration
	for b.Loop() {
		for _, name := range names {
			query := packed(b, 7, name, dns.TypeA)
			began := time.Now()
			client.WriteToUDPAddrPort(query, to)
			client.SetReadDeadline(began.Add(time.Second))
			if n, err := client.Read(buf); err != nil || n < 4 || buf[3]&15 != dns.RcodeSuccess {
				b.Fatalf("%s: %x, %v; want an answer", name, buf[:n], err)
			}
			took = append(took, time.Since(began))
			time.Sleep(2 * time.Millisecond) // a device has turnsEach questions a second while others ask
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
