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
	bulkTime  = 600 * time.Millisecond
	flowsTime = 800 * time.Millisecond
	blastTime = 400 * time.Millisecond
	askTime   = 700 * time.Millisecond
)

// street is the two houses that traffic is measured in.
type street struct {
	plain, ours *house
	dnsmasq     *lab.Daemon // in the plain one; nil: not installed
	brief       bool        // each run takes half its time
	runs        uint64      // blasts so far
	asked       int         // names asked once so far
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
	plainWay   = "plain forwarding"
	directWay  = "direct, told by DNS"
	sniffedWay = "direct, sniffed"
	untoldWay  = "direct, not told"
	nodeWay    = "SOCKS5 node"
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
	at := s.ours.At
	return []route{
		{plainWay, s.plain, at.Domestic.V4, "www.domestic.example"},
		{directWay, s.ours, at.Domestic.V4, "www.domestic.example"},
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
		ways = append(ways, way{r.name, s.meter(r.house), func() (outcome, error) { return r.house.client.do(make(r)) }})
	}
	return ways
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

// blasts sends datagrams of one flow at several rates. Nothing in them tells a
// name, so those to an address that DNS did not tell have none.
func (s *street) blasts(routes []route) (all []measure) {
	ways := slices.Clone(routes)
	for i := range ways {
		if ways[i].name == sniffedWay {
			ways[i].name = untoldWay
		}
	}
	for _, size := range []int{64, 1200} {
		for _, rate := range []int{20_000, 60_000, 0} {
			name := fmt.Sprintf("UDP, %d bytes, %d/s", size, rate)
			if rate == 0 {
				name = fmt.Sprintf("UDP, %d bytes, no limit", size)
			}
			m := measure{name: name, unit: datagramsGot}
			for _, r := range ways {
				m.ways = append(m.ways, way{r.name, s.meter(r.house), func() (outcome, error) { return s.blast(r, size, rate) }})
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

// server is one that is asked, and the house that it is in.
type server struct {
	name  string
	house *house
	at    netip.AddrPort
	meter meter
}

// Names of the servers.
const (
	dnsmasqWay  = "dnsmasq"
	fairleadWay = "fairlead"
)

func (s *street) servers() (all []server) {
	if s.dnsmasq != nil {
		all = append(all, server{dnsmasqWay, s.plain, s.plain.dnsmasq(), newMeter(s.dnsmasq.Pid(), s.pids()...)})
	}
	return append(all, server{fairleadWay, s.ours, s.ours.routerDNS(), s.meter(s.ours)})
}

// knownNames is how many names are asked again and again.
const knownNames = 1000

// questions measures answers that are known already, and those that are not.
func (s *street) questions() ([]measure, error) {
	servers := s.servers()
	ours := servers[len(servers)-1:]
	cached, err := s.again("DNS, cached", servers, "c0000000.domestic.example")
	if err != nil {
		return nil, err
	}
	fake, err := s.again("DNS, fake, known name", ours, "c0000000.foreign.example")
	if err != nil {
		return nil, err
	}
	return []measure{
		cached, fake,
		s.once("DNS, missed", servers, "m0000000.domestic.example"),
		s.once("DNS, fake, new name", ours, "n0000000.foreign.example"),
	}, nil
}

// again asks for names that have been asked for before.
func (s *street) again(name string, servers []server, names string) (measure, error) {
	m := measure{name: name, unit: answersGot}
	for _, at := range servers {
		o := order{Do: "ask", To: at.at, Name: names, Names: knownNames, For: s.lasting(askTime)}
		m.ways = append(m.ways, way{at.name, at.meter, func() (outcome, error) { return at.house.client.do(o) }})
		o.Once = true
		if _, err := at.house.client.do(o); err != nil {
			return m, err
		}
	}
	return m, nil
}

// once asks for names that nobody has asked for before.
func (s *street) once(name string, servers []server, names string) measure {
	const enough = 200_000 // for the time of a run
	m := measure{name: name, unit: answersGot}
	for _, at := range servers {
		m.ways = append(m.ways, way{at.name, at.meter, func() (outcome, error) {
			s.asked += enough
			return at.house.client.do(order{Do: "ask", To: at.at, Name: names, Names: enough, First: s.asked, For: s.lasting(askTime)})
		}})
	}
	return m
}
