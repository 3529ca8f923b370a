package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// privateFile is a configuration in which every documented option, and one that
// nobody knows, has a value that occurs nowhere else. The options whose kind of
// value may be seen are left out.
func privateFile(t *testing.T) (text string, markers []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/configuration.md")
	ok(t, err)
	var b strings.Builder
	put := func(name string) {
		command := "option"
		if list, found := strings.CutPrefix(name, "list "); found {
			command, name = "list", list
		}
		marker := fmt.Sprintf("mk%04dz", len(markers))
		markers = append(markers, marker)
		fmt.Fprintf(&b, "\t%s %s 'https://u:%s@%s.example/%s'\n", command, name, marker, marker, marker)
	}
	for _, part := range strings.Split(string(page), "\n## config ")[1:] {
		typ, _, _ := strings.Cut(part, " ")
		fmt.Fprintf(&b, "config %s 'one_%s'\n", typ, typ)
		for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_ ]+)` \\|").FindAllStringSubmatch(part, -1) {
			if !slices.Contains([]string{"enabled", "list network", "list device", "device", "state_dir", "control"}, m[1]) {
				put(m[1])
			}
		}
		put("unheard_of")
	}
	if len(markers) < 50 {
		t.Fatalf("docs/configuration.md has %d options, want all of them", len(markers))
	}
	return b.String(), markers
}

func TestNothingPrivateIsInTheReport(t *testing.T) {
	text, markers := privateFile(t)
	root := t.TempDir()
	const lease, site = "leasemarker", "www.sitemarker.example"
	for path, text := range map[string]string{
		"/tmp/dhcp.leases":            "1700000000 02:00:00:00:00:02 192.168.77.12 " + lease + " *\n",
		"/var/etc/dnsmasq.conf.cfg01": "address=/" + site + "/" + lease + "\ndhcp-host=" + lease + "\n",
	} {
		path = filepath.Join(root, path)
		ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
		ok(t, os.WriteFile(path, []byte(text), 0o600))
	}
	log := "x fairlead[1]: time=2026-11-23T10:00:02Z level=INFO msg=flow host=" + site + " client=" + lease +
		" err=\"dialing " + site + ": EOF\"\nx fairlead[1]: time=1 level=WARN msg=\"" + lease + " removes the table\"\n"
	var report buffer
	p := patient{file: configFile(t, text), root: root, log: func() (string, error) { return log, nil }}
	ok(t, p.report(&report))

	for _, marker := range append(markers, lease, site, "sitemarker") {
		if strings.Contains(string(report), marker) {
			t.Errorf("the report has %q, want nothing private in it:\n%s", marker, report)
		}
	}
	if want := "msg=flow err=…EOF"; !strings.Contains(string(report), want) {
		t.Errorf("the report has no %q, so that the log is not in it:\n%s", want, report)
	}
	_, errs, _ := typed(t, "check", "-c", p.file)
	if n := strings.Count(errs, "mk00"); n < 20 {
		t.Errorf("check, with nothing taken out, has %d private values, want many, or their absence shows nothing", n)
	}
}

func TestClientsAreShownWithoutWhoTheyAre(t *testing.T) {
	l := clientList{Clients: []clientStatus{{
		MAC: "00:11:22:33:44:55", Hostname: "annas-phone", Device: "br-lan", Client: "default", Mode: "fakeip", Outbound: "direct",
		Addresses: []netip.Addr{netip.MustParseAddr("192.168.77.12"), netip.MustParseAddr("2001:db8::12")},
	}}}
	want := "1: 00:11:22:33:44:55 on br-lan, 1 IPv4 and 1 IPv6, with a name: client default, mode fakeip, outbound direct"
	if got := anonymous(l, nil).Lines; len(got) != 1 || got[0] != want {
		t.Errorf("the clients are %q, want %q, of which only the MAC is left to be shortened", got, want)
	}
}

func TestTheReportOfARunningGatewayHelps(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	tv := h.Clients["tv"]
	h.address(t, tv, "www.foreign.example", families[0])
	got, errs, code := h.command("support")
	if code != 0 || errs != "" {
		t.Errorf("support exits %d: %s", code, errs)
	}
	for _, want := range []string{
		"config 'outbound' 'node'\n\toption type 'socks5'\n\toption server '[IPv4 address]'\n",
		"== status\nfairlead ", "== doctor\n",
		": [random MAC] on br-lan, ", "client tv, mode realip, outbound direct\n",
		"as the configuration and this machine's addresses say: true\n", "chain divert: ", "set lan: 1 element\n",
		"IPv4 rule 900: mark 0x1000000 of 0xf000000 leads to table 1000\n",
		"net.ipv4.conf.br-lan.rp_filter = ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report has no %q:\n%s", want, got)
		}
	}
	for _, not := range []string{h.At.Node.V4.String(), h.At.ISP.V4.String(), "foreign.example", tv.MAC.String(), tv.Addr6.String()} {
		if strings.Contains(got, not) {
			t.Errorf("the report has %q, want nothing private in it:\n%s", not, got)
		}
	}
}

func TestALogThatDoesNotEndIsCutOff(t *testing.T) {
	program := filepath.Join(t.TempDir(), "logread")
	ok(t, os.WriteFile(program, []byte("#!/bin/sh\nwhile echo line; do :; done\n"), 0o700))
	got, err := printed(program)
	if err != nil || len(got) != maxLog || !strings.HasPrefix(got, "line\nline\n") {
		t.Errorf("%d bytes were read, %v, want %d", len(got), err, maxLog)
	}
	if _, err := printed(program + ".missing"); err == nil || !strings.HasPrefix(err.Error(), "reading the log: ") {
		t.Errorf("a program that is missing gives %v, want it said", err)
	}
}
