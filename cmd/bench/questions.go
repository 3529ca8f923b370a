package main

import (
	"cmp"
	"net/netip"
)

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
	nftsetWay   = "dnsmasq with nftset"
	fairleadWay = "fairlead"
)

func (s *street) servers() (all []server) {
	if s.dnsmasq != nil {
		all = append(all, server{dnsmasqWay, s.plain, s.plain.dnsmasq(dnsmasqPort), newMeter(s.dnsmasq.Pid(), s.pids()...)})
	}
	return append(all, server{fairleadWay, s.ours, s.ours.routerDNS(), s.meter(s.ours)})
}

// tellers are the servers that tell the kernel of the addresses in their answers.
func (s *street) tellers() (all []server) {
	if s.nftset != nil {
		all = append(all, server{nftsetWay, s.plain, s.plain.dnsmasq(nftsetPort), newMeter(s.nftset.Pid(), s.pids()...)})
	}
	return append(all, server{fairleadWay, s.ours, s.ours.routerDNS(), s.meter(s.ours)})
}

const (
	// knownNames is how many names are asked again and again: what dnsmasq keeps,
	// and a few more that it has to keep.
	knownNames = dnsmasqCache * 9 / 10
	// newAddrs is how many addresses a run makes known, so that all rounds together
	// stay below what fairlead remembers.
	newAddrs = 1000
	// newFakes is how many names a run makes known: there are 131,072 fake addresses
	// for all rounds, the disturbed ones included.
	newFakes = 6000
	// cachedNames are names that the servers keep.
	cachedNames = "c0000000.domestic.example"
	// enough is more names than are asked for in the time of a run.
	enough = 200_000
)

// questions measures answers that are known already, and those that are not.
func (s *street) questions() ([]measure, error) {
	servers := s.servers()
	ours := servers[len(servers)-1:]
	cached, err := s.again("DNS, cached", servers, cachedNames)
	if err != nil {
		return nil, err
	}
	fake, err := s.again("DNS, fake, known name", ours, "c0000000.foreign.example")
	if err != nil {
		return nil, err
	}
	return []measure{
		cached, s.steady(servers), fake, s.first(), s.burst(servers),
		s.once("DNS, missed", servers, "k0000000.domestic.example", enough),
		s.once("DNS, missed, for a node", servers, "r0000000.real.example", enough),
		s.once("DNS, missed, new address", s.tellers(), "f0000000.domestic.example", newAddrs),
		s.once("DNS, fake, new name", ours, "n0000000.foreign.example", newFakes),
	}, nil
}

// Names of the ways of a first answer.
const (
	oldAddrWay = "an address that is known"
	newAddrWay = "an address new to the kernel"
	newFakeWay = "a new fake address"
)

// first asks one question after the other for names that nobody has asked for:
// what the kernel has to be told of their answers is all that they differ in,
// but for a fake one, for which nobody else is asked.
func (s *street) first() measure {
	const names = 100 // a run; the kernel's maps are to stay small
	m := measure{name: "DNS, first answers", unit: answersGot}
	for _, w := range []struct{ name, names string }{
		{oldAddrWay, "k0000000.domestic.example"},
		{newAddrWay, "f0000000.domestic.example"},
		{newFakeWay, "k0000000.foreign.example"},
	} {
		m.ways = append(m.ways, way{name: w.name, meter: s.meter(s.ours), run: func() (outcome, error) {
			s.firsts += names
			return s.ours.client.do(order{Do: "ask", To: s.ours.routerDNS(), Name: w.names, Names: names, First: s.firsts, Once: true, Alone: true})
		}})
	}
	return m
}

// steadyRate is what a household asks in its busiest second, many times over: no
// server is short of time, so what is measured is how long an answer takes.
const steadyRate = 2000

// steady asks at a rate for names that have been asked for before.
func (s *street) steady(servers []server) measure {
	m := measure{name: "DNS, 2000/s, cached", unit: answersGot}
	for _, at := range servers {
		o := order{Do: "ask", To: at.at, Name: cachedNames, Names: knownNames, For: s.lasting(askTime), Rate: steadyRate}
		m.ways = append(m.ways, way{name: at.name, meter: at.meter, run: func() (outcome, error) { return at.house.client.do(o) }})
	}
	return m
}

// burst asks for so many new names at once, and again when all are answered.
func (s *street) burst(servers []server) measure {
	const bursts = 20
	m := measure{name: "DNS, bursts of 100, missed", unit: answersGot}
	for _, at := range servers {
		m.ways = append(m.ways, way{name: at.name, meter: at.meter, run: func() (outcome, error) {
			var all outcome
			for range bursts {
				s.asked += outstanding
				o, err := at.house.client.do(order{
					Do: "ask", To: at.at, Name: "k0000000.domestic.example", Names: outstanding, First: s.asked, Once: true,
				})
				if err != nil {
					return all, err
				}
				all = all.with(o)
			}
			return all, nil
		}})
	}
	return m
}

// with is what came of two orders together; the times are those of the slower one.
func (o outcome) with(other outcome) outcome {
	o.Elapsed += other.Elapsed
	o.Count += other.Count
	o.Sent += other.Sent
	o.Errors += other.Errors
	o.Why = cmp.Or(o.Why, other.Why)
	o.P50, o.P99 = max(o.P50, other.P50), max(o.P99, other.P99)
	return o
}

// again asks for names that have been asked for before.
func (s *street) again(name string, servers []server, names string) (measure, error) {
	m := measure{name: name, unit: answersGot}
	for _, at := range servers {
		o := order{Do: "ask", To: at.at, Name: names, Names: knownNames, For: s.lasting(askTime)}
		m.ways = append(m.ways, way{name: at.name, meter: at.meter, run: func() (outcome, error) { return at.house.client.do(o) }})
		o.Once = true
		if _, err := at.house.client.do(o); err != nil {
			return m, err
		}
	}
	return m, nil
}

// once asks for names that nobody has asked for before, for the time of a run or
// until there are none left.
func (s *street) once(name string, servers []server, names string, most int) measure {
	m := measure{name: name, unit: answersGot}
	for _, at := range servers {
		m.ways = append(m.ways, way{name: at.name, meter: at.meter, run: func() (outcome, error) {
			s.asked += most
			return at.house.client.do(order{
				Do: "ask", To: at.at, Name: names, Names: most, First: s.asked,
				Once: most < enough, For: s.lasting(askTime),
			})
		}})
	}
	return m
}
