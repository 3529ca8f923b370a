package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// How long one run of a way takes.
const (
	bulkTime  = 500 * time.Millisecond
	flowsTime = 700 * time.Millisecond
	blastTime = 300 * time.Millisecond
	askTime   = 600 * time.Millisecond
)

// street is the two houses that traffic is measured in.
type street struct {
	plain, ours *house
	dnsmasq     *lab.Daemon // in the plain one; nil: not installed
	nftset      *lab.Daemon // a second one, which tells the kernel of addresses; nil: it cannot
	brief       bool        // each run takes half its time
	runs        uint64      // blasts so far
	asked       int         // names asked once so far
	firsts      int         // of these, one after the other
}

func (s *street) lasting(usual time.Duration) time.Duration {
	if s.brief {
		return usual / 2
	}
	return usual
}

// route is a way through a house: where its client connects to, and as what.
type route struct {
	name  string
	house *house
	to    netip.Addr
	sni   string
}

// Names of the ways.
const (
	plainWay     = "plain forwarding"
	plainLinkWay = "plain, second interface"
	directWay    = "direct, told by DNS"
	interfaceWay = "interface"
	sniffedWay   = "direct, sniffed"
	handedWay    = "direct, handed back"
	nodeWay      = "SOCKS5 node"
)

// routes prepares the ways: what DNS is to tell has been asked.
func (s *street) routes() ([]route, error) {
	if _, err := s.ours.lookup("www.domestic.example"); err != nil {
		return nil, err
	}
	fake, err := s.ours.lookup("www.foreign.example")
	if err != nil {
		return nil, err
	}
	led, err := s.ours.lookup("tunnel.foreign.example")
	if err != nil {
		return nil, err
	}
	at := s.ours.At
	return []route{
		{plainWay, s.plain, at.Domestic.V4, "www.domestic.example"},
		{plainLinkWay, s.plain, at.Foreign.V4, "tunnel.foreign.example"},
		{directWay, s.ours, at.Domestic.V4, "www.domestic.example"},
		{interfaceWay, s.ours, led, "tunnel.foreign.example"},
		{sniffedWay, s.ours, at.Blocked.V4, "www.domestic.example"},
		{nodeWay, s.ours, fake, "www.foreign.example"},
	}, nil
}

// meter counts the CPU time of a house's daemon, and of all that belongs to
// the benchmark.
func (s *street) meter(h *house) meter {
	daemon := 0
	if h.daemon != nil {
		daemon = h.daemon.Pid()
	}
	return newMeter(daemon, s.pids()...)
}

func (s *street) pids() (pids []int) {
	for _, h := range []*house{s.plain, s.ours} {
		pids = append(pids, h.client.pid(), h.server.pid(), h.node.pid())
	}
	return pids
}

// waysOf makes a way of each route by an order for its client.
func (s *street) waysOf(routes []route, make func(r route) order) []way {
	var ways []way
	for _, r := range routes {
		ways = append(ways, s.way(r, func() (outcome, error) { return r.house.client.do(make(r)) }))
	}
	return ways
}

// way is a route with something to be done on it. An interface is compared with
// another one that leads to the same place.
func (s *street) way(r route, run func() (outcome, error)) way {
	w := way{name: r.name, meter: s.meter(r.house), run: run}
	if r.name == interfaceWay {
		w.base = plainLinkWay
	}
	return w
}

func (s *street) bulk(name string, routes []route, streams int, down bool) measure {
	port := uint16(sinkPort)
	if down {
		port = sourcePort
	}
	return measure{name, bytesMoved, s.waysOf(routes, func(r route) order {
		return order{Do: "bulk", To: netip.AddrPortFrom(r.to, port), Name: r.sni, For: s.lasting(bulkTime), Streams: streams, Down: down}
	})}
}

func (s *street) bulks(routes []route, note string) []measure {
	return []measure{
		s.bulk("TCP, 1 stream up"+note, routes, 1, false),
		s.bulk("TCP, 8 streams up"+note, routes, 8, false),
		s.bulk("TCP, 1 stream down"+note, routes, 1, true),
	}
}

func (s *street) flows(routes []route) measure {
	const parallel = 64
	return measure{"short TLS flows, 64 at a time", flowsDone, s.waysOf(routes, func(r route) order {
		return order{Do: "flows", To: netip.AddrPortFrom(r.to, shortPort), Name: r.sni, For: s.lasting(flowsTime), Streams: parallel}
	})}
}

// flowByFlow is what a flow costs of its client's time when nobody else is there.
func (s *street) flowByFlow(routes []route) measure {
	return measure{"one short TLS flow after the other", flowsDone, s.waysOf(routes, func(r route) order {
		return order{Do: "flows", To: netip.AddrPortFrom(r.to, shortPort), Name: r.sni, For: s.lasting(flowsTime), Streams: 1}
	})}
}

// datagramRoutes are those of datagrams. Nothing in ours tells a name, so those
// to an address that DNS did not tell are handed back to the kernel.
func datagramRoutes(routes []route) []route {
	routes = slices.Clone(routes)
	for i := range routes {
		if routes[i].name == sniffedWay {
			routes[i].name = handedWay
		}
	}
	return routes
}

// echoes is the time of a datagram there and back. The benchmark's node takes
// nothing back.
func (s *street) echoes(routes []route) measure {
	routes = slices.DeleteFunc(datagramRoutes(routes), func(r route) bool { return r.name == nodeWay })
	return measure{"UDP echo, one after the other", datagramsGot, s.waysOf(routes, func(r route) order {
		return order{Do: "echo", To: netip.AddrPortFrom(r.to, lab.EchoPort), For: s.lasting(blastTime), Size: 64}
	})}
}

// blasts sends datagrams of one flow at several rates.
func (s *street) blasts(routes []route) (all []measure) {
	for _, size := range []int{64, 1200} {
		for _, rate := range []int{60_000, 0} {
			name := fmt.Sprintf("UDP, %d bytes, %d/s", size, rate)
			if rate == 0 {
				name = fmt.Sprintf("UDP, %d bytes, no limit", size)
			}
			m := measure{name: name, unit: datagramsGot}
			for _, r := range datagramRoutes(routes) {
				m.ways = append(m.ways, s.way(r, func() (outcome, error) { return s.blast(r, size, rate) }))
			}
			all = append(all, m)
		}
	}
	return all
}

// blast sends, and asks the other side what came.
func (s *street) blast(r route, size, rate int) (outcome, error) {
	s.runs++
	sent, err := r.house.client.do(order{
		Do: "blast", To: netip.AddrPortFrom(r.to, datagramPort), For: s.lasting(blastTime), Size: size, Rate: rate, Run: s.runs,
	})
	if err != nil {
		return sent, err
	}
	got, err := s.sunk(r.house, sent.Sent)
	got.Sent = sent.Sent
	got.Elapsed = max(got.Elapsed, sent.Elapsed)
	return got, err
}

// sunk waits until all datagrams have come, or no more do.
func (s *street) sunk(h *house, sent int) (outcome, error) {
	before := -1
	for {
		got, err := h.server.do(order{Do: "sunk", Run: s.runs})
		if err != nil || got.Count >= sent || got.Count == before {
			return got, err
		}
		before = got.Count
		time.Sleep(30 * time.Millisecond) // longer than any queue between the two holds a datagram
	}
}
