package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestTheCollectorWaitsForSixMegabytesOfGarbageOrHalfOfWhatLives(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{
		{0, 300}, {1 << 20, 300}, {3 << 20, 200}, {4 << 20, 150}, {12 << 20, 50}, {1 << 30, 50},
	} {
		if got := percentFor(tt.live); got != tt.want {
			t.Errorf("percentFor(%d MiB) = %d, want %d", tt.live>>20, got, tt.want)
		}
	}
}

func TestTheCollectorIsSetAnewAfterItRan(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(leastPercent))
	afterCollection(&collection{percent: leastPercent, rest: time.AfterFunc(0, func() {})})
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for deadline := time.Now().Add(10 * time.Second); ; {
		runtime.GC()
		if metrics.Read(percent); percent[0].Value.Uint64() > leastPercent {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the percentage is %d after collections of a small heap, want more than %d", percent[0].Value.Uint64(), leastPercent)
		}
		runtime.Gosched()
	}
}

func TestWhatIsFreeGoesBackAfterACollection(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(leastPercent))
	due := make(chan struct{}, 1)
	rest := time.AfterFunc(time.Hour, func() {
		select {
		case due <- struct{}{}:
		default: // others may collect after the test, too
		}
	})
	afterCollection(&collection{percent: leastPercent, rest: rest})
	var garbage []byte
	for deadline := time.Now().Add(10 * time.Second); ; {
		garbage = make([]byte, 1<<20)
		select {
		case <-due:
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was due after collections of megabytes like the %d bytes here", len(garbage))
		}
	}
}

func TestACollectionThatWasAskedForLeadsToNoOther(t *testing.T) {
	var c collection
	for _, tt := range []struct {
		forced uint32
		want   bool
	}{{0, false}, {1, true}, {1, false}, {3, true}, {3, false}} {
		if got := c.wasAsked(&runtime.MemStats{NumForcedGC: tt.forced}); got != tt.want {
			t.Errorf("wasAsked with %d of them = %v, want %v", tt.forced, got, tt.want)
		}
	}
}
