package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// measure is one thing that is measured in several ways, in turn.
type measure struct {
	name string
	unit unit
	ways []way // the first is what the others are compared with that have no base
}

// way is how the traffic of a measure goes.
type way struct {
	name  string
	meter meter
	run   func() (outcome, error)
	base  string // the way that it is compared with
}

// base is which of its ways a way is compared with.
func (m measure) base(w way) int {
	return max(0, slices.IndexFunc(m.ways, func(other way) bool { return other.name == w.base }))
}

// unit says how a measure counts.
type unit struct {
	rate string // such as Gbit/s
	cost string // what the daemon's CPU is given in, such as s/GB
	of   func(o outcome) (rate, amount float64)
	each time.Duration // the CPU time that is a cost of one
}

var (
	bytesMoved = unit{"Gbit/s", "s/GB", func(o outcome) (float64, float64) {
		gb := float64(o.Bytes) / 1e9
		return gb * 8 / o.Elapsed.Seconds(), gb
	}, time.Second}
	flowsDone    = counted("flows/s", "us/flow")
	datagramsGot = counted("packets/s", "us/packet")
	answersGot   = counted("answers/s", "us/answer")
)

func counted(rate, cost string) unit {
	return unit{rate, cost, func(o outcome) (float64, float64) {
		return float64(o.Count) / o.Elapsed.Seconds(), float64(o.Count)
	}, time.Microsecond}
}

// spent gives the CPU time for one of what was counted.
func (u unit) spent(s sample, cpu time.Duration) float64 {
	_, amount := u.of(s.outcome)
	return float64(cpu) / float64(u.each) / max(amount, 1e-9)
}

// sample is one run of a way.
type sample struct {
	outcome
	used used
}

// round is one run of every way of a measure, one after the other.
type round []sample

func (r round) foreign() (most float64) {
	for _, s := range r {
		most = max(most, s.used.foreign)
	}
	return most
}

// quiet is the share of the machine that others may take from a run before it
// is run again.
const quiet = 0.15

// rounds runs a measure so many times. Disturbed rounds are replaced by
// further ones, as long as there is time for them.
func (m measure) rounds(n int, extra time.Time) ([]round, error) {
	var all []round
	for calm := 0; calm < n && (len(all) < n || len(all) < 2*n && time.Now().Before(extra)); {
		var r round
		for _, w := range m.ways {
			s, err := w.sample()
			if err != nil {
				return nil, fmt.Errorf("measuring %s, %s: %w", m.name, w.name, err)
			}
			r = append(r, s)
		}
		if r.foreign() < quiet {
			calm++
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b round) int { return cmp.Compare(a.foreign(), b.foreign()) })
	return all[:n], nil
}

func (w way) sample() (sample, error) {
	before, err := w.meter.read()
	if err != nil {
		return sample{}, err
	}
	o, err := w.run()
	if err != nil {
		return sample{}, err
	}
	u, err := w.meter.since(before)
	return sample{o, u}, err
}

// result is what a way of a measure came to: medians of its rounds.
type result struct {
	Measure  string
	Way      string
	Rate     float64
	RateUnit string
	Ratio    float64 // to its base, in the same round
	Cost     float64 // the daemon's CPU time for one
	Chain    float64 // that of all, from the sender to the receiver
	CostUnit string
	Cores    float64 // the daemon's CPU time in a second
	Loss     float64 // share of what was sent, in all rounds: a median would hide one
	P50, P99 time.Duration
	Added    time.Duration // to the median of its base, in the same round
	Errors   int           // in all rounds
	Why      string
	Foreign  float64 // share of the machine that others took
	Rounds   int
}

// results sums up the rounds of a measure, a line for each way.
func (m measure) results(rounds []round) []result {
	var all []result
	for i, w := range m.ways {
		base := m.base(w)
		median := func(of func(r round) float64) float64 { return medianOf(rounds, of) }
		sampled := func(of func(s sample) float64) float64 {
			return median(func(r round) float64 { return of(r[i]) })
		}
		rate := func(s sample) float64 { rate, _ := m.unit.of(s.outcome); return rate }
		res := result{
			Measure: m.name, Way: w.name, RateUnit: m.unit.rate, CostUnit: m.unit.cost, Rounds: len(rounds),
			Rate:    sampled(rate),
			Ratio:   median(func(r round) float64 { return rate(r[i]) / rate(r[base]) }),
			Cores:   sampled(func(s sample) float64 { return s.used.daemon.Seconds() / s.used.elapsed.Seconds() }),
			Foreign: sampled(func(s sample) float64 { return s.used.foreign }),
			P50:     time.Duration(sampled(func(s sample) float64 { return float64(s.P50) })),
			P99:     time.Duration(sampled(func(s sample) float64 { return float64(s.P99) })),
			Added:   time.Duration(median(func(r round) float64 { return float64(r[i].P50 - r[base].P50) })),
			Cost:    sampled(func(s sample) float64 { return m.unit.spent(s, s.used.daemon) }),
			Chain:   sampled(func(s sample) float64 { return m.unit.spent(s, s.used.chain) }),
		}
		sent, lost := 0, 0
		for _, r := range rounds {
			sent += r[i].Sent
			lost += r[i].Sent - r[i].Count
			res.Errors += r[i].Errors
			res.Why = cmp.Or(res.Why, r[i].Why)
		}
		res.Loss = float64(lost) / float64(max(sent, 1))
		all = append(all, res)
	}
	return all
}

func medianOf(rounds []round, of func(r round) float64) float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
