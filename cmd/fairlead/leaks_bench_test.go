package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// BenchmarkLeakMonitor is the daemon's share of a processor while a thousand
// questions a second leave in the clear, each for another name, with option
// leak_monitor and without:
//
//	go test ./cmd/fairlead -run '^$' -bench LeakMonitor -benchtime 10000x
func BenchmarkLeakMonitor(b *testing.B) {
	for _, option := range []string{"0", "1", "0", "1"} {
		b.Run("leak_monitor="+option, func(b *testing.B) {
			w, err := lab.New(lab.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { w.Close() })
			path, err := w.WriteConfig(w.ConfigText(lab.Config{Main: []string{"option leak_monitor '" + option + "'"}}))
			if err != nil {
				b.Fatal(err)
			}
			b.Setenv(asFairlead, "1")
			self, err := os.Executable()
			if err != nil {
				b.Fatal(err)
			}
			d, err := w.StartRouter(self, path)
			if err != nil {
				b.Fatal(err)
			}
			if err := d.Ready(b.Context()); err != nil {
				b.Fatal(err)
			}
			before := processorTime(b, d.Pid())
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			conn, err := w.Clients["tv"].ListenUDP(true)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			for i := 0; b.Loop(); i++ {
				question := append([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, wireName(fmt.Sprintf("n%d.domestic.example", i))...)
				conn.WriteToUDPAddrPort(append(question, 0, lab.TypeTXT, 0, 1), at(w.At.RouterLAN.V4, 53))
				<-pace.C
			}
			used := processorTime(b, d.Pid()) - before
			b.ReportMetric(100*used.Seconds()/b.Elapsed().Seconds(), "%CPU")
			var s status
			if err := ask(path, "status", &s); err != nil {
				b.Fatal(err)
			}
			if s.Leaks != nil {
				b.ReportMetric(float64(s.Leaks.Direct)/b.Elapsed().Seconds(), "seen/s")
			}
		})
	}
}

// processorTime is what a process has used (proc(5), stat), to 10 ms.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
