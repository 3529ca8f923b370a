package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
)

func TestWhatOthersTakeFromTheTableIsBackWithinASecond(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop, v4 := h.Clients["laptop"], families[0]
	fake := h.address(t, laptop, "www.foreign.example", v4)
	direct := h.address(t, laptop, "www.domestic.example", v4)
	h.wantPath(t, laptop, direct, byKernel)
	v := h.vandal(t)

	byTheNode := func() bool { return h.isPath(laptop, fake, byNode) }
	direction := func() bool { // known again by the next question
		h.address(t, laptop, "www.domestic.example", v4)
		return h.isPath(laptop, direct, byKernel)
	}
	for _, c := range []struct {
		what  string
		do    func()
		right func() bool
	}{
		{"the deletion of a direct address", func() { v.deleteElement("way4_g0", direct.AsSlice()) }, direction},
		{"the deletion of a fake address", func() { v.deleteElement("fakeway4", fake.AsSlice()) }, byTheNode},
		{"the deletion of the heartbeat", func() { v.deleteElement("alive", []byte{unix.NFPROTO_IPV4}) }, byTheNode},
		{"the deletion of the LAN", func() { v.deleteElement("lan", deviceKey(lab.LAN)) }, byTheNode},
		{"the deletion of a rule", func() { v.deleteLastRule("divert") }, byTheNode},
		{"the deletion of the table", v.deleteTable, byTheNode},
		{"a flush of everything", v.flushRuleset, byTheNode},
	} {
		h.heals(t, c.what, c.do, c.right)
	}
	if path, err := exec.LookPath("nft"); err == nil {
		h.heals(t, "nft flush ruleset", func() { h.inRouter(t, path, "flush", "ruleset") }, byTheNode)
	}
}

func TestWhileOthersDeleteTheTableNoFlowOfAClientIsStuck(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	fake := h.address(t, laptop, "www.foreign.example", families[0])
	long := h.dialTCP(t, laptop, at(fake, lab.EchoPort))
	_, err := hello(long)
	ok(t, err)
	v := h.vandal(t)
	for range 3 {
		began := time.Now()
		v.deleteTable()
		for !h.isPath(laptop, fake, byNode) { // hammering
			if time.Since(began) > healTime {
				t.Fatalf("no flow came through within %v", healTime)
			}
		}
	}
	if _, err := long.Write([]byte("still there\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 12)
	if _, err := long.Read(answer); err != nil || string(answer) != "still there\n" {
		t.Errorf("a flow from before answers %q, %v", answer, err)
	}
}

// asVandal names what the process is to destroy as soon as it is there.
const asVandal = "FAIRLEAD_TEST_VANDAL"

// TestHelperVandal is no test: it is the other program of the test below.
func TestHelperVandal(t *testing.T) {
	if os.Getenv(asVandal) == "" {
		return
	}
	table, err := nft.Open(nft.Options{})
	ok(t, err)
	tick := time.NewTicker(10 * time.Millisecond)
	for range tick.C {
		ok(t, table.Delete())
		rules, err := netlink.RuleList(unix.AF_INET)
		ok(t, err)
		for _, r := range rules {
			if r.Priority == route.Priority {
				_ = netlink.RuleDel(&r)
			}
		}
	}
}

func TestWhoDestroysAgainAndAgainIsNamedAndNotFought(t *testing.T) {
	t.Parallel()
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	fake := h.address(t, laptop, "www.foreign.example", families[0])
	began := time.Now()
	other, err := h.Run(exec.Command(self(t), "-test.run=^TestHelperVandal$"), asVandal+"=1")
	ok(t, err)
	gaveUp := func(what string) bool {
		return slices.ContainsFunc(h.status(t).Warnings, func(w string) bool {
			return strings.HasPrefix(w, filepath.Base(self(t))) && strings.Contains(w, what)
		})
	}
	until(t, patience, "two warnings in the status", func() bool {
		return gaveUp("removes the table") && gaveUp("removes fairlead's rules or routes")
	})
	took := time.Since(began)
	for _, line := range []string{`msg="putting the table back"`, `msg="put rules and routes back"`} {
		repairs := strings.Count(h.daemon.Log(), line)
		if most := int(took/healEvery) + 1; repairs > most || repairs < maxHeals || repairs > maxHeals+1 {
			t.Errorf("%d times %s in %v, want %d, and not more than one in %v", repairs, line, took, maxHeals, healEvery)
		}
	}
	ok(t, other.Kill())
	if _, errs, code := h.command("reload"); code != 0 {
		t.Fatalf("the reload after the fight exits with %d: %s", code, errs)
	}
	if gaveUp("removes the table") || gaveUp("removes fairlead's rules or routes") {
		t.Errorf("after a reload the status warns %q, want none of a fight", h.status(t).Warnings)
	}
	if !h.isPath(laptop, fake, byNode) {
		t.Error("after a reload a flow does not come through")
	}
}
