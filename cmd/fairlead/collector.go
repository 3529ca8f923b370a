package main

import (
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// memoryLimit is what the collector tries to keep the memory below: a router
	// with 128 MB has other things to do, too. It has to be above what the limits of
	// the gateway allow, 15 KB for each of 4,096 connections beside 16 MB: a
	// collector that cannot keep it takes half of the processor for trying.
	memoryLimit = 96 << 20
	// leastGarbage is how much is thrown away before the collector runs, in bytes.
	// While little lives, half as much again is soon used: with a hundred questions
	// under way the collector and the stacks that it had shrunk took a quarter of
	// the CPU time.
	leastGarbage = 6 << 20
	// Bounds of what may be thrown away, in percent of what lives.
	leastPercent, mostPercent = 50, 300
	// quiet is how long there is no collection until what is free goes back to the
	// system, of which the runtime would keep some megabytes for ever. Under load
	// there is one every few seconds, so nothing is given back that is used again soon.
	quiet = 10 * time.Second
)

// setCollector has the collector run when there is garbage of half the size of what
// lives, but not of less than leastGarbage, and give back what is free when all is quiet.
func setCollector() {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(leastPercent)
	afterCollection(&collection{percent: leastPercent, quiet: quiet, rest: time.AfterFunc(quiet, debug.FreeOSMemory)})
}

// collection is found by each run of the collector, as garbage.
type collection struct {
	percent int           // as set
	forced  uint32        // collections that somebody asked for
	quiet   time.Duration // after which rest is due
	rest    *time.Timer   // collects, too, and gives back what is free
}

func afterCollection(c *collection) {
	runtime.SetFinalizer(c, func(c *collection) {
		var m runtime.MemStats // runtime/metrics, which is cheaper, would be 65 KB more to install
		runtime.ReadMemStats(&m)
		live := m.NextGC * 100 / uint64(100+c.percent)
		if percent := percentFor(live); percent != c.percent {
			c.percent = percent
			debug.SetGCPercent(percent)
		}
		if !c.wasAsked(&m) {
			c.rest.Reset(c.quiet)
		}
		afterCollection(c)
	})
}

// wasAsked tells a collection that somebody asked for, as rest does, which must not
// be followed by another one for ever.
func (c *collection) wasAsked(m *runtime.MemStats) bool {
	before := c.forced
	c.forced = m.NumForcedGC
	return c.forced != before
}

// percentFor is the collector's percentage while so many bytes live, in steps of ten
// so that it seldom changes: each change stops all for a moment.
func percentFor(live uint64) int {
	percent := leastGarbage * 100 / max(live, 1) / 10 * 10
	return int(min(max(percent, leastPercent), mostPercent))
}
