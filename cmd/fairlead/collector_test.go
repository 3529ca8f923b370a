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
	afterCollection(&collection{percent: leastPercent})
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
