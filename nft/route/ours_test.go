package route

import (
	"slices"
	"testing"
)

func TestOnlyOurRulesAndRoutesAreDescribed(t *testing.T) {
	enter(t)
	if got, err := Ours(); err != nil || len(got) > 0 {
		t.Errorf("before Apply ours are %q, %v, want none", got, err)
	}
	apply(t, config())
	got, err := Ours()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"IPv4 rule 899: mark 0x1000000 of 0xf000000 leads to table 254",
		"IPv6 rule 900: mark 0x1000000 of 0xf000000 leads to table 1000",
		"IPv4 route 198.18.0.0/15 of type 7 and metric 0 in table 254",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("ours are %q, want %q among them", got, want)
		}
	}
	if len(got) != 8 {
		t.Errorf("ours are %d: %q, want two rules and two routes of each family", len(got), got)
	}
}
