package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/cmd/fairlead/leaks"
)

// watching is a `fairlead leaks` that runs in the router.
type watching struct {
	t   *testing.T
	cmd *exec.Cmd
	out buffer
}

// watch begins to watch, and returns when the WAN is watched.
func (h *home) watch(t *testing.T, args ...string) *watching {
	t.Helper()
	args = append([]string{"leaks", "-c", h.config, "--for", "10m"}, args...)
	w := &watching{t: t, cmd: exec.Command(underTest(t), args...)}
	w.cmd.Env = append(os.Environ(), asFairlead+"=1")
	w.cmd.Stdout = &w.out
	stderr, err := w.cmd.StderrPipe()
	ok(t, err)
	ok(t, h.Router.Start(w.cmd))
	t.Cleanup(func() { w.cmd.Process.Kill() })
	said, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil || !strings.HasPrefix(said, "watching wan") {
		t.Fatalf("fairlead leaks says %q, %v; want that it watches the WAN", said, err)
	}
	return w
}

// end stops watching and gives what was printed.
func (w *watching) end(wantCode int) string {
	w.t.Helper()
	ok(w.t, w.cmd.Process.Signal(syscall.SIGINT))
	w.cmd.Wait()
	if code := w.cmd.ProcessState.ExitCode(); code != wantCode {
		w.t.Errorf("fairlead leaks exits %d, want %d; it prints\n%s", code, wantCode, w.out)
	}
	return string(w.out)
}

// report stops watching and gives what was seen.
func (w *watching) report(wantCode int) (r leaks.Report) {
	w.t.Helper()
	out := w.end(wantCode)
	if err := jsonInto(out, &r); err != nil {
		w.t.Fatalf("fairlead leaks prints %q: %v", out, err)
	}
	return r
}

// ways has 1 for each way that was taken. How often is not said: the lab's
// resolvers change letters' case, so that some questions are asked again over TCP.
func ways(r leaks.Report) leaks.Counts {
	one := func(n int64) int64 { return min(n, 1) }
	c := r.Counts
	return leaks.Counts{Direct: one(c.Direct), Encrypted: one(c.Encrypted), Node: one(c.Node), Router: one(c.Router), Leak: one(c.Leak)}
}

func TestLeaksSeesNoneWhereThereIsNoneAndIsNotBlind(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	p := newProbe(t, h)
	text, w := h.watch(t), h.watch(t, "--json")
	for _, client := range []string{"laptop", "tv"} {
		for _, name := range []string{"www.domestic.example", p.name(), "blocked.example"} {
			p.ask(client, name, lab.TypeA)
			p.ask(client, name, lab.TypeTXT)
		}
	}
	r := w.report(0)
	want := leaks.Counts{Direct: 1, Node: 1}
	if ways(r) != want || r.Lost != 0 || r.Unseen != 0 || !r.Fairlead || !slices.Equal(r.Devices, []string{lab.WAN}) {
		t.Errorf("the report is %+v, want the ways of %+v and nothing lost or unseen", r, want)
	}
	out := text.end(0)
	for _, line := range []string{
		"DIRECT    www.domestic.example  to 203.0.113.53     www.domestic.example may be asked of 203.0.113.53 in the clear",
		"NODE      " + p.name() + " to 203.0.113.80     inside the node's connection, by upstream remote through node",
		" through an outbound, 0 of the router's own programs, 0 leaked",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("fairlead leaks prints\n%s\nwant a line %q", out, line)
		}
	}
}

// lookOut is a home with a client that fairlead leaves alone.
func lookOut(t *testing.T, edit func(h *home, text string) string) *probe {
	h := newHouse(t, lab.Options{Clients: []string{"laptop", "tv", "free"}})
	text := h.ConfigText(lab.Config{})
	text += "config client 'free'\n\tlist mac '" + h.Clients["free"].MAC.String() + "'\n\toption mode 'off'\n"
	if edit != nil {
		text = edit(h, text)
	}
	h.configure(text)
	h.start()
	return newProbe(t, h)
}

// wantLeak looks for a leak of the canary.
func wantLeak(t *testing.T, r leaks.Report, name, server, reason string) leaks.Entry {
	t.Helper()
	for _, e := range r.Leaks {
		if e.Name == name && strings.HasPrefix(e.Server, server) && strings.Contains(e.Reason, reason) {
			return e
		}
	}
	t.Errorf("the leaks are %+v, want one of %s to %s because %s", r.Leaks, name, server, reason)
	return leaks.Entry{}
}

func TestLeaksSeesWhatAClientAsksPastFairlead(t *testing.T) {
	p := lookOut(t, nil)
	w := p.watch(t, "--json")
	free := p.Clients["free"]
	for _, network := range []string{"udp", "tcp"} {
		p.askAt("free", p.At.Public.V4, network+"4."+p.name(), lab.TypeA, network)
		p.askAt("free", p.At.Public.V6, network+"6."+p.name(), lab.TypeTXT, network)
	}
	p.askAt("free", p.At.ISP.V4, "www.domestic.example", lab.TypeA, "udp")
	p.send("free", at(p.At.Public.V4, 53), "no message")
	p.send("free", at(p.At.Public.V4, 853), "\xc0 as QUIC begins")
	r := w.report(1)
	for _, network := range []string{"udp", "tcp"} {
		e := wantLeak(t, r, network+"4."+p.name(), at(p.At.Public.V4, 53).String(), "section free has mode off")
		if e.Client != free.Addr4 || e.MAC != free.MAC.String() || e.Proto != network || !strings.HasPrefix(e.From, p.At.RouterWAN.V4.String()) {
			t.Errorf("%+v: want the client before its address was translated, and its MAC", e)
		}
		e = wantLeak(t, r, network+"6."+p.name(), at(p.At.Public.V6, 53).String(), "section free has mode off")
		if e.Client != free.Addr6 || e.Type != "TXT" {
			t.Errorf("%+v: want a question for TXT of %s", e, free.Addr6)
		}
	}
	wantLeak(t, r, "", at(p.At.Public.V4, 53).String(), "10 bytes on port 53 that are no DNS message, from "+free.Addr4.String())
	if want := (leaks.Counts{Direct: 1, Encrypted: 1, Leak: 1}); ways(r) != want || r.Counts.Leak != 5 {
		t.Errorf("counted %+v, want %+v", r.Counts, want)
	}
}

func TestLeaksSeesWhatFairleadItselfWouldLeak(t *testing.T) {
	p := lookOut(t, remoteIsISP)
	w := p.watch(t, "--json")
	p.ask("tv", p.name(), lab.TypeA)
	p.ask("tv", "www.domestic.example", lab.TypeA)
	r := w.report(1)
	wantLeak(t, r, p.name(), at(p.At.ISP.V4, 53).String(), "upstream isp asked")
	if want := (leaks.Counts{Direct: 1, Leak: 1}); ways(r) != want {
		t.Errorf("counted %+v, want %+v", r.Counts, want)
	}
}

func TestLeaksGoesOnWhenFairleadIsKilled(t *testing.T) {
	p := lookOut(t, nil)
	w := p.watch(t, "--json")
	p.ask("laptop", "www.domestic.example", lab.TypeA)
	ok(t, p.daemon.Kill())
	p.ask("laptop", p.name(), lab.TypeA) // dnsmasq's place has another resolver here
	p.ask("laptop", "b.domestic.example", lab.TypeA)
	r := w.report(1)
	wantLeak(t, r, p.name(), at(p.At.ISP.V4, 53).String(), "a program of this router asked 203.0.113.53: fairlead does not run")
	if want := (leaks.Counts{Direct: 1, Leak: 1}); ways(r) != want || r.Fairlead {
		t.Errorf("counted %+v with fairlead: %v, want %+v without", r.Counts, r.Fairlead, want)
	}
}

func TestLeaksCountsTheRoutersOwnProgramsApart(t *testing.T) {
	for option, want := range map[string]leaks.Counts{"0": {Direct: 1, Router: 1}, "1": {Direct: 1, Node: 1}} {
		t.Run("option router "+option, func(t *testing.T) {
			h := newHome(t, lab.Options{}, lab.Config{Main: []string{"option router '" + option + "'"}})
			p := newProbe(t, h)
			w := p.watch(t, "--json")
			router := &lab.Client{Name: "router", NS: h.Router, Addr4: h.At.RouterWAN.V4, Addr6: h.At.RouterWAN.V6}
			for _, name := range []string{p.name(), "b." + p.name(), "www.domestic.example"} {
				_, err := router.Lookup(h.ctx(), h.At.ISP.V4, name, lab.TypeA, "udp")
				ok(t, err)
			}
			if r := w.report(0); ways(r) != want {
				t.Errorf("counted %+v, want %+v", r.Counts, want)
			}
		})
	}
}

func TestLeaksJudgesByThePolicyAloneWithoutFairlead(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(h.ConfigText(lab.Config{}))
	p := newProbe(t, h)
	w := p.watch(t, "--json")
	p.ask("laptop", p.name(), lab.TypeA)
	p.ask("laptop", "www.domestic.example", lab.TypeA)
	r := w.report(1)
	wantLeak(t, r, p.name(), at(p.At.ISP.V4, 53).String(), "fairlead does not run")
	if want := (leaks.Counts{Direct: 1, Leak: 1}); ways(r) != want || r.Fairlead {
		t.Errorf("counted %+v with fairlead: %v, want %+v without", r.Counts, r.Fairlead, want)
	}
}

// An encrypted upstream is no leak, unless it is the local one and the name is
// not direct.
func TestLeaksTellsEncryptedUpstreams(t *testing.T) {
	for _, e := range encryptions() {
		t.Run(fmt.Sprint(e), func(t *testing.T) {
			s := newSecured(t, e, credential{})
			w := s.watch(t, "--json")
			s.ask("tv", s.name(), lab.TypeA)
			r := w.report(0)
			want := leaks.Counts{Encrypted: 1}
			if e.outbound == "node" {
				want = leaks.Counts{Node: 1}
			}
			if ways(r) != want {
				t.Errorf("counted %+v, want %+v", r.Counts, want)
			}
		})
	}
}

func TestManyLeaksDoNotFillTheLog(t *testing.T) {
	var text strings.Builder
	found := logLeaks(slog.New(slog.NewTextHandler(&text, nil)))
	began := time.Now()
	for n := range 1000 {
		found(leaks.Finding{Way: leaks.Leak, Name: fmt.Sprintf("%d.example", n), Time: began})
	}
	found(leaks.Finding{Way: leaks.Direct, Time: began})
	found(leaks.Finding{Way: leaks.Leak, Name: "later.example", Time: began.Add(leakLogEvery)})
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "name=0.example") || !strings.Contains(lines[1], "name=later.example") || !strings.Contains(lines[1], "passed_over=999") {
		t.Errorf("the log has %d lines:\n%s\nwant the first leak, and a later one that tells of 999 others", len(lines), text.String())
	}
}

func TestTheDaemonWatchesForLeaksIfToldTo(t *testing.T) {
	const option = "\toption leak_monitor '1'\n"
	p := lookOut(t, func(_ *home, text string) string {
		return replaced(text, "option enabled '1'\n", "option enabled '1'\n"+option)
	})
	p.until("the daemon watching the WAN", func() bool {
		r, err := leaksOf(p.config)
		return err == nil && slices.Equal(r.Devices, []string{lab.WAN})
	})
	p.ask("laptop", "www.domestic.example", lab.TypeA)
	p.until("a direct question in the status", func() bool { s := p.status(t); return s.Leaks != nil && s.Leaks.Direct > 0 })
	if s := p.status(t); s.Leaks.Leak != 0 || len(s.Warnings) > 0 {
		t.Errorf("before there was a leak, the status is %+v with warnings %v", s.Leaks, s.Warnings)
	}
	p.askAt("free", p.At.Public.V4, p.name(), lab.TypeA, "udp")
	p.until("a leak in the status", func() bool { return p.status(t).Leaks.Leak == 1 })
	if warnings := p.status(t).Warnings; len(warnings) != 1 || !strings.Contains(warnings[0], "1 DNS questions leaked") || !strings.Contains(warnings[0], p.name()) {
		t.Errorf("the warnings are %q, want the leak", warnings)
	}
	out, _, code := p.command("leaks", "--json")
	var r leaks.Report
	if err := jsonInto(out, &r); err != nil || code != 1 {
		t.Fatalf("leaks --json exits %d and prints %q, %v", code, out, err)
	}
	if e := wantLeak(t, r, p.name(), at(p.At.Public.V4, 53).String(), "mode off"); e.Client != p.Clients["free"].Addr4 {
		t.Errorf("the client is %v, want %v", e.Client, p.Clients["free"].Addr4)
	}
	text, err := os.ReadFile(p.config)
	ok(t, err)
	p.configure(replaced(string(text), option, ""))
	ok(t, ask(p.config, "reload", nil))
	p.until("the end of the watch", func() bool { return p.status(t).Leaks == nil })
}
