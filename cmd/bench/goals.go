package main

import (
	"fmt"
	"strings"
	"time"
)

// goal is what a way is to reach in a measure. Zero is no goal.
type goal struct {
	measure  string // prefix of its name
	way      string
	ratio    float64       // at least, to its base
	added    time.Duration // at most, to the median of its base
	cost     float64       // at most, in the measure's unit
	cores    float64       // at most
	costOf   float64       // at most, as a multiple of the first way's cost
	p99      time.Duration // at most
	lossless bool
}

// idleCores is what a daemon takes that nothing passes: it refreshes its
// heartbeat each second.
const idleCores = 0.005

// kernelAdds is what a way within the kernel may add to a packet's time.
const kernelAdds = 60 * time.Microsecond

func goals() []goal {
	all := []goal{
		{measure: "TCP, ", way: sniffedWay, ratio: 0.90},
		{measure: "TCP, ", way: nodeWay, ratio: 0.72, cost: 0.30},
		{measure: "short TLS flows", way: sniffedWay, ratio: 0.55, cost: 130},
		{measure: "short TLS flows", way: nodeWay, ratio: 0.33},
		{measure: "one short TLS flow", way: sniffedWay, added: 200 * time.Microsecond},
		{measure: "one short TLS flow", way: nodeWay, added: 450 * time.Microsecond},
		{measure: "UDP, ", way: handedWay, ratio: 0.95, cores: idleCores},
		{measure: "UDP, 64 bytes, 60000/s", way: handedWay, lossless: true},
		{measure: "UDP, 1200 bytes, 60000/s", way: handedWay, lossless: true},
		{measure: "UDP, 64 bytes, 60000/s", way: nodeWay, lossless: true},
		{measure: "UDP, 1200 bytes, 60000/s", way: nodeWay, lossless: true},
		{measure: "UDP echo", way: handedWay, added: kernelAdds, cores: idleCores},
		{measure: "DNS, cached", way: fairleadWay, costOf: 1.15, lossless: true},
		{measure: "DNS, 2000/s", way: fairleadWay, p99: 150 * time.Microsecond},
		{measure: "DNS, bursts", way: fairleadWay, lossless: true},
		{measure: "DNS, fake", way: fairleadWay, lossless: true},
		{measure: "DNS, missed", way: fairleadWay, ratio: 1.5, lossless: true},
		{measure: "DNS, first answers", way: newAddrWay, added: 300 * time.Microsecond},
	}
	for _, way := range []string{directWay, interfaceWay} {
		all = append(all,
			goal{measure: "TCP, ", way: way, ratio: 0.95, cores: idleCores},
			goal{measure: "short TLS flows", way: way, ratio: 0.90, cores: idleCores},
			goal{measure: "one short TLS flow", way: way, added: kernelAdds, cores: idleCores},
			goal{measure: "UDP, ", way: way, ratio: 0.97, cores: idleCores, lossless: true},
			goal{measure: "UDP echo", way: way, added: kernelAdds, cores: idleCores})
	}
	return all
}

// judge says of each goal of a result whether it is met.
func judge(res result, all []result) (words []string) {
	for _, g := range goals() {
		if g.way != res.Way || !strings.HasPrefix(res.Measure, g.measure) {
			continue
		}
		if g.ratio > 0 && all[0].Way != res.Way {
			words = append(words, verdict(res.Ratio >= g.ratio, fmt.Sprintf("ratio >= %.2f", g.ratio)))
		}
		if g.added > 0 {
			words = append(words, verdict(res.Added <= g.added, fmt.Sprintf("added <= %v", g.added)))
		}
		if g.cost > 0 {
			words = append(words, verdict(res.Cost <= g.cost, fmt.Sprintf("CPU <= %v", g.cost)))
		}
		if g.cores > 0 {
			words = append(words, verdict(res.Cores <= g.cores, "no CPU"))
		}
		if g.costOf > 0 && all[0].Way != res.Way {
			words = append(words, verdict(res.Cost <= g.costOf*all[0].Cost, fmt.Sprintf("CPU <= %v x %s", g.costOf, all[0].Way)))
		}
		if g.p99 > 0 {
			words = append(words, verdict(res.P99 <= g.p99, fmt.Sprintf("p99 <= %v", g.p99)))
		}
		if g.lossless {
			words = append(words, verdict(res.Loss == 0, "no loss"))
		}
	}
	return words
}

func verdict(met bool, what string) string {
	if met {
		return what + " ok"
	}
	return what + " MISSED"
}
