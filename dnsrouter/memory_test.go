package dnsrouter

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// heap is what lives, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The budget of a router with 128 MB.
func TestTenThousandLearnedAddressesTakeLessThanThreeMegabytes(t *testing.T) {
	plan := &Plan{
		Policy: policy.New(policy.Config{Default: "direct", Sniff: true, Rules: []policy.Rule{
			{Name: "node", Domains: patterns(t, "node.example"), Outbound: "reject"},
		}}),
		Learns: []bool{true},
	}
	before := heap()
	l := newLearned(nowhere{}, plan)
	now := time.Now()
	for i := range 10_000 {
		addr := netip.AddrFrom4([4]byte{20, 0, byte(i >> 8), byte(i)})
		if err := l.answer(0, fmt.Sprintf("host%d.direct.example", i), []netip.Addr{addr}, time.Minute, now); err != nil {
			t.Fatal(err)
		}
	}
	took := heap() - before
	t.Logf("10,000 learned addresses take %d KB", took>>10)
	if took > 3<<20 {
		t.Errorf("10,000 learned addresses take %d bytes, want at most 3 MiB", took)
	}
	runtime.KeepAlive(l)
}

// nowhere takes every way.
type nowhere struct{}

func (nowhere) SetWays([]AddrWay) error      { return nil }
func (nowhere) DelWay(int, netip.Addr) error { return nil }
