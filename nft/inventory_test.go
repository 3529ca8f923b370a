package nft

import (
	"net/netip"
	"testing"
	"time"
)

func TestTheInventoryCountsWhatTheKernelHas(t *testing.T) {
	fd := enterNetNS(t)
	table, err := Open(Options{NetNS: fd})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	rs, err := Build(family3())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := table.Inventory(rs); err != nil || got.Current || len(got.Rules)+len(got.Elements) > 0 {
		t.Errorf("without a table the inventory is %+v, %v, want an empty one", got, err)
	}
	fakes := [][2]netip.Addr{
		{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:2::1")},
		{netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("2001:2::2")},
	}
	if err := table.Install(rs, func() Fakes { return Fakes{Pairs: fakes} }); err != nil {
		t.Fatal(err)
	}
	if err := table.SetWay(1, netip.MustParseAddr("192.0.2.1"), DirectWay, time.Minute); err != nil {
		t.Fatal(err)
	}
	got, err := table.Inventory(rs)
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, n := range got.Rules {
		rules += n
	}
	if rules != rs.rules() || !got.Current {
		t.Errorf("the inventory has %d rules, current %t; want %d, true", rules, got.Current, rs.rules())
	}
	for _, want := range []struct {
		set string
		n   int
	}{{lanSet, 2}, {homeSet + "4", 2}, {memberName(0, "mac"), 2}, {memberName(2, "4"), 1}, {aliveSet, 2}} {
		if n, ok := got.Elements[want.set]; !ok || n != want.n {
			t.Errorf("set %s has %d elements, %t, want %d: %v", want.set, n, ok, want.n, got.Elements)
		}
	}
	other, err := Build(house())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := table.Inventory(other); err != nil || got.Current {
		t.Errorf("held against another ruleset the inventory says current %t, %v, want false", got.Current, err)
	}
}
