package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report prints results as they come and keeps them.
type report struct {
	w io.Writer

	Began     time.Time
	Machine   string
	Kernel    string
	Go        string
	Fairlead  string
	Rounds    int
	Footprint *footprint `json:",omitempty"`
	Results   []result
}

func newReport(w io.Writer, binary string, rounds int) (*report, error) {
	version, err := exec.Command(binary, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w", binary, err)
	}
	r := &report{
		w: w, Began: time.Now(), Rounds: rounds, Kernel: kernel(), Go: runtime.Version(),
		Machine:  fmt.Sprintf("%d x %s", runtime.NumCPU(), processor()),
		Fairlead: strings.TrimSpace(string(version)),
	}
	fmt.Fprintf(w, "%s on %s, Linux %s, %s\n", r.Fairlead, r.Machine, r.Kernel, r.Go)
	fmt.Fprintf(w, "Medians of %d interleaved rounds. CPU is that of the daemon (of dnsmasq in its lines), and that of all from\n"+
		"the sender to the receiver, the kernel's threads included. Foreign is the share of the machine that others\n"+
		"took meanwhile: with more than 15 %% a figure should not be believed.\n", rounds)
	return r, nil
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func (r *report) footprint(f footprint) {
	r.Footprint = &f
	fmt.Fprintf(r.w, "\nmemory and start\n")
	fmt.Fprintf(r.w, "  from exec to serving  %8.3f s    %s\n", f.Start.Seconds(), verdict(f.Start <= time.Second, "<= 1 s"))
	fmt.Fprintf(r.w, "  resident, idle        %8.1f MB   %s\n", float64(f.Idle)/1e6, verdict(f.Idle <= 15e6, "<= 15 MB"))
	if f.Named > 0 {
		fmt.Fprintf(r.w, "  resident, 1e6 names   %8.1f MB   %s\n", float64(f.Named)/1e6, verdict(f.Named <= 25e6, "<= 25 MB"))
	}
	fmt.Fprintf(r.w, "  per idle connection   %8.1f KB   %s (%d of them, sniffed)\n",
		float64(f.PerConn)/1e3, verdict(f.PerConn <= 20e3, "<= 20 KB"), f.Conns)
}

// add prints a measure.
func (r *report) add(results []result) {
	r.Results = append(r.Results, results...)
	first := results[0]
	fmt.Fprintf(r.w, "\n%-32s %10s %6s %14s %8s %6s %8s  targets\n", first.Measure, first.RateUnit, "ratio",
		"CPU "+first.CostUnit, "of all", "cores", "foreign")
	for _, res := range results {
		fmt.Fprintf(r.w, "  %-30s %10s %6.2f %14s %8s %6.2f %7.0f%%  %s\n", res.Way, number(res.Rate), res.Ratio,
			number(res.Cost), number(res.Chain), res.Cores, res.Foreign*100, strings.Join(append(judge(res, results), remarks(res)...), ", "))
	}
}

// remarks are what is worth telling of some measures only.
func remarks(res result) (all []string) {
	if res.P50 > 0 {
		all = append(all, fmt.Sprintf("p50 %.3f ms, p99 %.2f ms", res.P50.Seconds()*1e3, res.P99.Seconds()*1e3))
	}
	if res.Added != 0 {
		all = append(all, fmt.Sprintf("added %+.3f ms", res.Added.Seconds()*1e3))
	}
	if res.Loss > 0 {
		all = append(all, fmt.Sprintf("LOST %.2f %%", res.Loss*100))
	}
	if res.Errors > 0 {
		all = append(all, fmt.Sprintf("%d ERRORS (%.80s)", res.Errors, res.Why))
	}
	return all
}

func number(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f >= 1000:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.3f", f)
}

func (r *report) save(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
