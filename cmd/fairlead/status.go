package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/doctor"
	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
)

// status is what `fairlead status --json` prints.
type status struct {
	Version   string                    `json:"version"`
	UptimeS   int64                     `json:"uptime_s"`
	RSSBytes  int64                     `json:"rss_bytes"`
	Flows     flowStatus                `json:"flows"`
	Outbounds map[string]outboundStatus `json:"outbounds"`
	DNS       dnsStatus                 `json:"dns"`
	Leaks     *leaks.Counts             `json:"leaks,omitempty"` // nil: nobody watches
	Warnings  []string                  `json:"warnings"`
}

type flowStatus struct {
	TCP        int   `json:"tcp"`
	UDP        int   `json:"udp"`
	HandedBack int64 `json:"handed_back"`
}

// outboundStatus counts what the daemon itself carried. State is up or down as
// the last dial went, or unused.
type outboundStatus struct {
	State   string `json:"state"`
	Flows   int64  `json:"flows"`
	TxBytes int64  `json:"tx_bytes"`
	RxBytes int64  `json:"rx_bytes"`
}

type dnsStatus struct {
	Queries  int64 `json:"queries"`
	Fake     int64 `json:"fake"`
	Cached   int64 `json:"cached"`
	Upstream int64 `json:"upstream"`
	Refused  int64 `json:"refused"`
}

func (d *daemon) status() status {
	d.mu.Lock()
	gen, warnings := d.gen, slices.Concat(d.fights.warnings(), d.placeWarnings)
	for _, f := range d.findings {
		if f.Severity != doctor.Note {
			warnings = append(warnings, f.Code+": "+f.What+"; "+f.Advice)
		}
	}
	d.mu.Unlock()
	g, dns := d.gateway.Status(), d.router.Status()
	s := status{
		Version: version, UptimeS: int64(time.Since(d.began).Seconds()), RSSBytes: residentBytes(),
		Flows:     flowStatus{TCP: g.TCP, UDP: g.UDP, HandedBack: g.HandedBack},
		Outbounds: make(map[string]outboundStatus),
		DNS:       dnsStatus{Queries: dns.Queries, Fake: dns.Fake, Cached: dns.Cached, Upstream: dns.Upstream, Refused: dns.Refused},
		Warnings:  []string{},
	}
	for name := range gen.outbounds {
		o := g.Outbounds[name]
		s.Outbounds[name] = outboundStatus{State: o.State.String(), Flows: o.Flows, TxBytes: o.TxBytes, RxBytes: o.RxBytes}
	}
	for _, w := range gen.cfg.Warnings {
		s.Warnings = append(s.Warnings, w.String())
	}
	s.Warnings = append(s.Warnings, warnings...)
	if m := d.leaks.Load(); m != nil {
		report := m.Report()
		s.Leaks = &report.Counts
		if warning := leakWarning(report); warning != "" {
			s.Warnings = append(s.Warnings, warning)
		}
	}
	if n := d.pool.Stats().Exhausted; n > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d names were answered with real addresses because every fake one is in use: widen dns.fakeip_range", n))
	}
	return s
}

// residentBytes is this process's memory in RAM (proc(5), statm).
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func statusCommand(e env, args []string) int {
	fs, file := flags(e, "status")
	asJSON := fs.Bool("json", false, "print JSON")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	s, err := statusOf(*file)
	if err != nil {
		return e.fail(err)
	}
	if *asJSON {
		return e.printJSON(s)
	}
	s.print(e.out)
	return 0
}

// statusOf asks the running daemon.
func statusOf(file string) (s status, err error) {
	err = ask(file, "status", &s)
	return s, err
}

func (e env) printJSON(v any) int {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return e.fail(err)
	}
	return 0
}

func (s status) print(w io.Writer) {
	fmt.Fprintf(w, "fairlead %s, up %s, %s of memory\n\n", s.Version, time.Duration(s.UptimeS)*time.Second, bytesText(s.RSSBytes))
	fmt.Fprintf(w, "flows now   %d TCP and %d UDP relayed\n", s.Flows.TCP, s.Flows.UDP)
	fmt.Fprintf(w, "so far      %d UDP flows handed back to the kernel\n", s.Flows.HandedBack)
	fmt.Fprintf(w, "questions   %d, of which %d fake, %d from the cache,\n", s.DNS.Queries, s.DNS.Fake, s.DNS.Cached)
	fmt.Fprintf(w, "            %d asked upstream, %d refused\n", s.DNS.Upstream, s.DNS.Refused)
	if l := s.Leaks; l != nil {
		fmt.Fprintf(w, "on the WAN  %d questions direct, %d of the router's own programs, %d leaked\n", l.Direct, l.Router, l.Leak)
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "%-22s%-8s%10s%12s%12s\n", "OUTBOUND", "STATE", "FLOWS", "SENT", "RECEIVED")
	for _, name := range slices.Sorted(maps.Keys(s.Outbounds)) {
		o := s.Outbounds[name]
		fmt.Fprintf(w, "%-22s%-8s%10d%12s%12s\n", name, o.State, o.Flows, bytesText(o.TxBytes), bytesText(o.RxBytes))
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "\nwarning: %s\n", warning)
	}
}

// bytesText is a number of bytes as people read it.
func bytesText(n int64) string {
	size, unit := float64(n), ""
	for _, next := range []string{"k", "M", "G", "T"} {
		if size < 1000 {
			break
		}
		size, unit = size/1000, next
	}
	if unit == "" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %sB", size, unit)
}

func reloadCommand(e env, args []string) int {
	fs, file := flags(e, "reload")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	if err := ask(*file, "reload", nil); err != nil {
		fmt.Fprintln(e.err, err)
		return 1
	}
	fmt.Fprintln(e.out, "reloaded")
	return 0
}
