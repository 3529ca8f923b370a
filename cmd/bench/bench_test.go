package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
	"github.com/fairlead/fairlead/sniff"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == agentFlag {
		exit(runAgent(os.Args[2], netip.MustParseAddr(os.Args[3])))
	}
	os.Exit(nstest.Main(m))
}

// TestAFewMeasuresGoThroughEveryWay keeps the benchmark from rotting: one round
// of some measures, without a broken flow or a wrong answer.
func TestAFewMeasuresGoThroughEveryWay(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "fairlead")
	if out, err := exec.Command("go", "build", "-o", binary, "../fairlead").CombinedOutput(); err != nil {
		t.Fatalf("building fairlead: %v\n%s", err, out)
	}
	var printed bytes.Buffer
	b := &bench{binary: binary, logLevel: "warn", street: street{brief: true}, pairs: 1, only: regexp.MustCompile("1 stream up|short|64 bytes, 60000|echo|DNS")}
	var err error
	if b.report, err = newReport(&printed, binary, b.pairs); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Errorf("closing the houses: %v", err)
		}
	}()
	if err := b.build(); err != nil {
		t.Fatal(err)
	}
	if err := b.measureAll(); err != nil {
		t.Fatal(err)
	}
	ways := map[string]int{}
	for _, r := range b.report.Results {
		ways[r.Measure]++
		if r.Rate <= 0 || r.Errors > 0 {
			t.Errorf("%s, %s: %v %s with %d errors (%s), want some and none", r.Measure, r.Way, r.Rate, r.RateUnit, r.Errors, r.Why)
		}
	}
	for measure, want := range map[string]int{
		"TCP, 1 stream up": 6, "TCP, 1 stream up, no offloads": 6, "short TLS flows, 64 at a time": 6,
		"UDP, 64 bytes, 60000/s": 6, "UDP echo, one after the other": 5, "DNS, first answers": 3,
	} {
		if ways[measure] != want {
			t.Errorf("%s was measured in %d ways, want %d", measure, ways[measure], want)
		}
	}
	checkKernelWays(t, b.report.Results)
	if t.Failed() {
		t.Log(printed.String())
	}
}

// checkKernelWays wants the daemon to do hardly anything for what the kernel
// carries: its heartbeat falls into some runs.
func checkKernelWays(t *testing.T, results []result) {
	t.Helper()
	carried := map[string]float64{}
	for _, r := range results {
		if r.Way == sniffedWay {
			carried[r.Measure] = r.Cost
		}
	}
	for _, r := range results {
		if cost, ok := carried[r.Measure]; ok && (r.Way == directWay || r.Way == interfaceWay) && r.Cost > cost/4 {
			t.Errorf("%s, %s: the daemon took %.3f %s, want much less than the %.3f of what it carries", r.Measure, r.Way, r.Cost, r.CostUnit, cost)
		}
	}
}

func TestTheHelloNamesItsHost(t *testing.T) {
	h := hello("www.domestic.example")
	got, err := sniff.Stream(h)
	if err != nil || got.Host != "www.domestic.example" || len(h) != helloSize {
		t.Errorf("the hello has %d bytes and is sniffed as %q (%v), want %d bytes for www.domestic.example", len(h), got.Host, err, helloSize)
	}
}

func TestTheResolverAnswersWithTheQuestionAndOneAddress(t *testing.T) {
	host := netip.MustParseAddr("198.51.100.10")
	for _, tt := range []struct {
		name string
		size int // of the answer
		ends []byte
	}{
		{"www.example", 16, host.AsSlice()},
		{"r0000001.example", 16, relayed.AsSlice()},
		{"f0000001.example", 16, spreadAddr(query("f0000001.example")[12:]).AsSlice()},
	} {
		q := query(tt.name)
		var msg [maxDatagram]byte
		size := answer(&msg, copy(msg[:], q), host)
		if got := msg[:size]; size != len(q)+tt.size || !bytes.HasSuffix(got, tt.ends) || !bytes.Equal(got[12:len(q)], q[12:]) {
			t.Errorf("the answer for %s is %x, want the question of %x and %x", tt.name, got, q, tt.ends)
		}
	}
}

func TestResultsAreMediansOfRoundsAndOfTheirRatios(t *testing.T) {
	m := measure{name: "flows", unit: flowsDone, ways: []way{{name: plainWay}, {name: directWay}}}
	of := func(plain, direct int) round {
		second := func(n int) sample {
			return sample{outcome{Count: n, Elapsed: time.Second}, used{elapsed: time.Second, daemon: time.Duration(n) * 10 * time.Microsecond}}
		}
		return round{second(plain), second(direct)}
	}
	got := m.results([]round{of(100, 90), of(1000, 100), of(50, 40)})[1]
	if got.Rate != 90 || got.Ratio != 0.8 || got.Cost != 10 {
		t.Errorf("got rate %v, ratio %v and %v us for one, want 90, 0.8 and 10", got.Rate, got.Ratio, got.Cost)
	}
}

func TestAWayIsComparedWithThatOfItsOwnBase(t *testing.T) {
	m := measure{unit: flowsDone, ways: []way{{name: plainWay}, {name: plainLinkWay}, {name: interfaceWay, base: plainLinkWay}}}
	run := func(n int, p50 time.Duration) sample {
		return sample{outcome{Count: n, Elapsed: time.Second, P50: p50}, used{elapsed: time.Second}}
	}
	got := m.results([]round{{run(100, 1), run(200, 20*time.Microsecond), run(190, 50*time.Microsecond)}})[2]
	if got.Ratio != 0.95 || got.Added != 30*time.Microsecond {
		t.Errorf("got ratio %v and %v added, want 0.95 and 30us", got.Ratio, got.Added)
	}
}

func TestDisturbedRoundsAreReplacedWhileThereIsTime(t *testing.T) {
	runs := 0
	m := measure{unit: flowsDone, ways: []way{{meter: newMeter(0), run: func() (outcome, error) {
		runs++
		return outcome{Count: 1, Elapsed: time.Second}, nil
	}}}}
	rounds, err := m.rounds(3, time.Time{})
	if err != nil || len(rounds) != 3 || runs != 3 {
		t.Errorf("%d rounds of %d runs (%v), want 3 of 3 when the time is over", len(rounds), runs, err)
	}
}

func TestGoalsAreJudged(t *testing.T) {
	all := []result{
		{Measure: "TCP, 1 stream up", Way: plainWay, Ratio: 1},
		{Measure: "TCP, 1 stream up", Way: nodeWay, Ratio: 0.8, Cost: 0.4},
		{Measure: "UDP echo, one after the other", Way: handedWay, Added: 70 * time.Microsecond},
	}
	if got, want := strings.Join(judge(all[1], all), ", "), "ratio >= 0.72 ok, CPU <= 0.3 MISSED"; got != want {
		t.Errorf("judged %q, want %q", got, want)
	}
	if got, want := strings.Join(judge(all[2], all), ", "), "added <= 60µs MISSED, no CPU ok"; got != want {
		t.Errorf("judged %q, want %q", got, want)
	}
}

func TestEveryGoalIsForAWayThatIsMeasured(t *testing.T) {
	known := []string{directWay, interfaceWay, sniffedWay, handedWay, nodeWay, fairleadWay, newAddrWay}
	for _, g := range goals() {
		found := false
		for _, way := range known {
			found = found || g.way == way
		}
		if !found {
			t.Errorf("nobody measures %q, of a goal for %q", g.way, g.measure)
		}
	}
}

func TestAReportCanBeReadByPrograms(t *testing.T) {
	b, err := json.Marshal(&report{Results: []result{{Measure: "m", Way: "w", Rate: 2}}})
	if err != nil || !strings.Contains(string(b), `"Rate":2`) {
		t.Errorf("got %s (%v), want the rate in it", b, err)
	}
}
