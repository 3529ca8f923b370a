package main

import (
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

func TestAStatusCountsWhatWasAsked(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	if _, err := laptop.Lookup(h.ctx(), h.At.RouterLAN.V4, "www.foreign.example", 1, "udp"); err != nil {
		t.Fatal(err)
	}
	var s status
	out, errs, code := h.command("status", "--json")
	if code != 0 {
		t.Fatalf("status exits %d: %s", code, errs)
	}
	if err := jsonInto(out, &s); err != nil {
		t.Fatal(err)
	}
	if s.DNS.Queries != 1 || s.DNS.Fake != 1 {
		t.Errorf("dns counters = %+v, want one question, faked", s.DNS)
	}
}
