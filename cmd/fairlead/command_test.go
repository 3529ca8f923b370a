package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// typed runs a command in this process and gives what it printed.
func typed(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	return piped(t, "", args...)
}

// piped is typed with something on standard input.
func piped(t *testing.T, in string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e buffer
	code = dispatch(env{in: strings.NewReader(in), out: &o, err: &e}, args)
	return string(o), string(e), code
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fairlead")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const household = `
config fairlead 'main'
	option enabled '1'
	list device 'br-lan'

config dns 'dns'
	option remote_upstream 'remote'

config upstream 'remote'
	list server '192.0.2.53'
	option outbound 'node'

config outbound 'node'
	option type 'socks5'
	option server '203.0.113.80'
	option port '1080'

config client 'tv'
	list mac '02:00:00:00:77:02'
	option mode 'realip'

config client 'guest'
	list ip '192.168.77.0/28'
	option mode 'off'

config rule
	list domain 'foreign.example'
	option outbound 'node'

config rule 'mail'
	list port '25'
	option outbound 'reject'

config rule 'blocked'
	list domain 'blocked.example'
	option outbound 'reject'
`

func TestCheckNamesEveryMistakeAndFails(t *testing.T) {
	path := configFile(t, household+"\nconfig rule 'typo'\n\tlist domain 'x.example'\n\toption outbound 'nod'\n\toption colour 'red'\n")
	_, errs, code := typed(t, "check", "-c", path)
	if code != 1 {
		t.Errorf("check exits %d, want 1", code)
	}
	for _, want := range []string{path + ":", ": typo: outbound: ", `did you mean "node"`, ": typo: colour: "} {
		if !strings.Contains(errs, want) {
			t.Errorf("check prints %q, want it to have %q", errs, want)
		}
	}
	if _, errs, code := typed(t, "check", "-c", configFile(t, household)); code != 0 {
		t.Errorf("check of a good configuration exits %d: %s", code, errs)
	}
}

func TestExplainSaysWhatWouldHappen(t *testing.T) {
	path := configFile(t, household)
	for _, tt := range []struct {
		who, what string
		want      explanation
	}{
		{"192.168.77.99", "www.foreign.example", explanation{
			Client: "default", Name: "www.foreign.example", Mode: "fakeip", Rule: "@rule[0]",
			Outbound: "node", Upstream: "remote", Answer: "fake", Path: "relay"}},
		{"02:00:00:00:77:02", "www.Foreign.example.:443", explanation{
			Client: "tv", Name: "www.foreign.example", Mode: "realip", Rule: "@rule[0]",
			Outbound: "node", Upstream: "remote", Answer: "real", Path: "relay"}},
		{"tv", "blocked.example", explanation{
			Client: "tv", Name: "blocked.example", Mode: "realip", Rule: "blocked",
			Outbound: "reject", Upstream: "", Answer: "none", Path: "reject"}},
		{"tv", "mail.example:25/tcp", explanation{
			Client: "tv", Name: "mail.example", Mode: "realip", Rule: "mail",
			Outbound: "reject", Upstream: "remote", Answer: "real", Path: "reject"}},
		{"guest", "www.foreign.example", explanation{
			Client: "guest", Name: "www.foreign.example", Mode: "off", Rule: "default",
			Outbound: "direct", Upstream: "auto", Answer: "real", Path: "off"}},
		{"tv", "[2001:db8::1]:443/udp", explanation{
			Client: "tv", Name: "2001:db8::1", Mode: "realip", Rule: "default",
			Outbound: "direct", Upstream: "", Answer: "none", Path: "relay"}},
		{"tv", "239.255.255.250:1900/udp", explanation{
			Client: "tv", Name: "239.255.255.250", Mode: "realip", Rule: "default",
			Outbound: "direct", Upstream: "", Answer: "none", Path: "kernel"}},
		{"192.168.77.99", "198.18.0.9", explanation{
			Client: "default", Name: "198.18.0.9", Mode: "fakeip", Rule: "fakeip",
			Outbound: "reject", Upstream: "", Answer: "none", Path: "reject"}},
	} {
		out, errs, code := typed(t, "explain", "-c", path, "--json", "--client", tt.who, tt.what)
		var got explanation
		if err := jsonInto(out, &got); err != nil || code != 0 {
			t.Errorf("explain %s %s exits %d: %v, %s", tt.who, tt.what, code, err, errs)
			continue
		}
		got.why, tt.want.why = nil, nil
		if got.Client != tt.want.Client || got.Name != tt.want.Name || got.Mode != tt.want.Mode || got.Rule != tt.want.Rule ||
			got.Outbound != tt.want.Outbound || got.Upstream != tt.want.Upstream || got.Answer != tt.want.Answer || got.Path != tt.want.Path {
			t.Errorf("explain %s %s = %+v, want %+v", tt.who, tt.what, got, tt.want)
		}
	}
}

func TestExplainDoesNotSayThatWhatTheKernelRoutesIsSniffed(t *testing.T) {
	path := configFile(t, strings.ReplaceAll(household, "list port '25'", "list domain 'mail.example'")+`
config outbound 'vpn'
	option type 'interface'
	option device 'wg0'

config rule
	list domain 'vpn.example'
	option outbound 'vpn'
`)
	for name, want := range map[string]string{"vpn.example": "the kernel routes", "foreign.example": "sniffed"} {
		if out, errs, _ := typed(t, "explain", "-c", path, "--client", "tv", name); !strings.Contains(out, want) {
			t.Errorf("explain %s says %q and %q, want that %s", name, out, errs, want)
		}
	}
}

func TestOptionsMayStandBehindWords(t *testing.T) {
	path := configFile(t, household)
	first, _, _ := typed(t, "explain", "-c", path, "--json", "--client", "tv", "blocked.example")
	behind, errs, code := typed(t, "explain", "blocked.example", "--client", "tv", "--json", "-c", path)
	if behind != first || code != 0 {
		t.Errorf("with the options behind, explain prints %q and %q and exits %d; want %q and 0", behind, errs, code, first)
	}
}

func TestBadInputIsSaidAndExitsWithOne(t *testing.T) {
	path := configFile(t, household)
	for _, args := range [][]string{
		{"explain", "-c", path, "--client", "nobody", "www.example"},
		{"explain", "-c", path, "--client", "tv", "www.example:http"},
		{"explain", "-c", path, "--client", "tv", "www.example:443/sctp"},
		{"explain", "-c", path, "www.example"},
		{"explain", "-c", path, "--client", "tv"},
		{"explain", "--colour"},
		{"explane"},
		{"status", "-c", path},
		{"reload", "-c", path},
		{"run", "-c", path + ".missing"},
	} {
		out, errs, code := typed(t, args...)
		if code != 1 || errs == "" || out != "" {
			t.Errorf("%v exits %d and prints %q, %q: want 1 and a reason on standard error", args, code, out, errs)
		}
	}
}

func TestHelpThatIsAskedForIsAResult(t *testing.T) {
	all, errs, code := typed(t, "help")
	if code != 0 || errs != "" {
		t.Errorf("help exits %d and prints %q to standard error, want 0 and nothing", code, errs)
	}
	for _, c := range commands() {
		if !strings.Contains(all, "\n  "+c.name+" ") {
			t.Errorf("help lacks %s:\n%s", c.name, all)
		}
		want := "usage: fairlead " + c.name + " [-c FILE]"
		for _, args := range [][]string{{c.name, "-h"}, {c.name, "--help"}, {"help", c.name}} {
			if out, errs, code := typed(t, args...); code != 0 || errs != "" || !strings.HasPrefix(out, want) {
				t.Errorf("%v exits %d and prints %q, %q; want %q on standard output", args, code, out, errs, want)
			}
		}
	}
	for line := range strings.Lines(all) {
		if len(line) > 80 {
			t.Errorf("help has the line %q of %d bytes, want it to fit a terminal of 80 columns", line, len(line))
		}
	}
	if out, errs, code := typed(t); code != 1 || out != "" || errs != all {
		t.Errorf("without a command fairlead exits %d and prints %q, %q; want 1, and help on standard error", code, out, errs)
	}
}

func TestAMistypedCommandIsGuessed(t *testing.T) {
	for word, want := range map[string]string{"statu": `did you mean "status"?`, "explane": `did you mean "explain"?`} {
		if _, errs, code := typed(t, word); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s exits %d and prints %q, want %q", word, code, errs, want)
		}
	}
	if _, errs, _ := typed(t, "frobnicate"); strings.Contains(errs, "did you mean") {
		t.Errorf("a command like none is answered by %q, want no guess", errs)
	}
}

func TestTheStatusFitsATerminal(t *testing.T) {
	s := status{
		Version: "v1.10.12", UptimeS: 8_000_000, RSSBytes: 99_900_000, Flows: flowStatus{TCP: 4096, UDP: 4096, HandedBack: 99_999_999},
		Outbounds: map[string]outboundStatus{"a_long_name_of_a_node": {State: "unused", Flows: 99_999_999, TxBytes: 999_949_999_999, RxBytes: 1}},
		DNS:       dnsStatus{Queries: 999_999_999, Fake: 999_999_999, Cached: 999_999_999, Upstream: 999_999_999, Refused: 999_999_999},
	}
	var b buffer
	s.print(&b)
	for line := range strings.Lines(string(b)) {
		if len(line) > 80 {
			t.Errorf("the status has the line %q of %d bytes, want 80 at most", line, len(line))
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 13_200_000: "13.2 MB", 5_000_000_000_000: "5.0 TB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestACommandWithTheWrongWordsSaysWhichOneIsWrong(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-c", "FILE", "check"}, "-c stands before the command"},
		{[]string{"check", "twice"}, `"twice" is a word too much`},
		{[]string{"explain", "--client", "tv"}, "a word is missing"},
		{[]string{"explain", "www.example", "--clint", "tv"}, "not defined: -clint"},
	} {
		out, errs, code := typed(t, test.args...)
		if out != "" || code != 1 || !strings.Contains(errs, test.want) {
			t.Errorf("fairlead %s: %q, %q, exit %d; want a sentence with %q, and 1", strings.Join(test.args, " "), out, errs, code, test.want)
		}
	}
}
