package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// program is a real client, and what it has to print.
type program struct {
	command string
	want    []string
}

// fakeAddr is how addresses of the fakeip range begin.
const fakeAddr = "198.18."

// programs are stub resolvers and diagnostic tools as they are found on devices.
// Each command ends by itself.
func programs() []program {
	const dig, kdig, drill = "dig +time=2 +tries=1 ", "kdig +timeout=2 +retry=0 ", "drill "
	const chromium = "chromium --headless --no-sandbox --disable-gpu --no-first-run --user-data-dir={dir}/chromium --dump-dom 2>/dev/null "
	const throughNode = `"Client":"203.0.113.80:`
	return []program{
		{dig + "www.interop.example A", []string{"status: NOERROR", "198.51.100.2", "EDNS: version: 0"}},
		{dig + "+short big4000.interop.example TXT", []string{"00000xxx", "00019xxx"}},
		{dig + "+tcp +dnssec www.signed.example A", []string{"RRSIG", "flags: qr rd ra ad"}},
		{dig + "+cookie=0102030405060708 +subnet=192.0.2.0/24 +nsid +padding=128 alias2.interop.example", []string{"status: NOERROR", "198.51.100.2"}},
		{dig + "+noedns nowhere.interop.example", []string{"status: NXDOMAIN", "SOA"}},
		{dig + "disorder.interop.example +short", []string{"target.interop.example.\n198.51.100.44"}},
		{dig + ". NS +short", []string{"ns.interop.example."}},
		{dig + "-x 8.8.8.8 +short", []string{"www.interop.example."}},
		{dig + "www.interop.example TYPE65400 +short", []string{`\# 6 C00C0102FF00`}},
		{dig + "www.interop.example ANY", []string{"RFC8482"}},
		{dig + "www.foreign.example +short", []string{fakeAddr}},
		{dig + "+edns=1 +noednsneg www.interop.example", []string{"status: BADVERS"}},
		{dig + "+opcode=5 www.interop.example", []string{"status: NOTIMP"}},
		{dig + "AXFR interop.example", []string{"Transfer failed"}},
		{dig + "@8.8.8.8 www.interop.example +short", []string{"198.51.100.2"}},
		{dig + "@8.8.8.8 +tcp www.foreign.example +short", []string{fakeAddr}},
		{dig + "@2001:db8:77::1 www.interop.example AAAA +short", []string{"2001:db8:51::2"}},
		{dig + "@2001:4860:4860::8888 big4000.interop.example TXT +short", []string{"00019xxx"}},
		{"host www.interop.example", []string{"has address 198.51.100.2", "has IPv6 address 2001:db8:51::2"}},
		{"nslookup www.interop.example", []string{"198.51.100.2", "2001:db8:51::2"}},
		{kdig + "+dnssec www.signed.example", []string{"NOERROR", "RRSIG", "Flags: qr rd ra ad"}},
		{kdig + "+tcp +keepopen big60000.interop.example TXT", []string{"NOERROR", "00299xxx"}},
		{kdig + "+nocookie +noedns many.interop.example", []string{"198.51.100.31", "198.51.100.34"}},
		{kdig + "www.foreign.example HTTPS", []string{"NOERROR"}},
		{drill + "www.interop.example", []string{"198.51.100.2"}},
		{drill + "-D nowhere.signed.example", []string{"NXDOMAIN", "NSEC"}},
		{"getent ahostsv4 www.interop.example", []string{"198.51.100.2"}},
		{"getent ahosts www.interop.example", []string{"198.51.100.2", "2001:db8:51::2"}},
		{"getent ahostsv4 disorder.interop.example", []string{"198.51.100.44"}},
		{"getent ahostsv4 alias2.interop.example", []string{"198.51.100.2"}},
		{"getent hosts 8.8.8.8", []string{"www.interop.example"}},
		{"getent ahostsv4 www.foreign.example", []string{fakeAddr}},
		{"busybox nslookup www.interop.example", []string{"198.51.100.2", "2001:db8:51::2"}},
		{"busybox ping -c 1 -W 2 www.interop.example", []string{"PING www.interop.example ("}},
		{"curl -sS --max-time 5 http://web.interop.example/", []string{`"Host":"web.interop.example"`}},
		{"curl -sS --max-time 5 http://www.foreign.example/", []string{throughNode}},
		{chromium + "http://web.interop.example/", []string{`"Host":"web.interop.example"`}},
		{chromium + "http://www.foreign.example/", []string{throughNode}},
		{"delv +noroot -a {anchor} +root=signed.example www.signed.example", []string{"; fully validated", "198.51.100.21"}},
		{"delv +noroot -a {anchor} +root=signed.example nowhere.signed.example", []string{"ncache nxdomain"}},
	}
}

// letProgramsAsk runs what is installed in the laptop, whose resolver is the
// router, as DHCP would have told it.
func (h *house) letProgramsAsk(r *report) error {
	conf := filepath.Join(h.Dir, "resolv.conf")
	text := fmt.Sprintf("nameserver %s\noptions timeout:2 attempts:1\n", h.At.RouterLAN.V4)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	anchor := filepath.Join(h.Dir, "anchor")
	if err := os.WriteFile(anchor, []byte(h.authority.anchorForBIND()), 0o644); err != nil {
		return err
	}
	missing := make(map[string]bool)
	ran := 0
	for _, p := range programs() {
		name, _, _ := strings.Cut(p.command, " ")
		if _, err := lookPath(name); err != nil {
			missing[name] = true
			continue
		}
		ran++
		out, err := h.runIn(conf, strings.NewReplacer("{anchor}", anchor, "{dir}", h.Dir).Replace(p.command))
		for _, want := range p.want {
			if !strings.Contains(out, want) {
				r.fail("%s\n      prints no %q (%v):\n%s", p.command, want, err, indent(out))
				break
			}
		}
	}
	fmt.Fprintf(r.out, "%d questions of real programs.\n", ran)
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		fmt.Fprintf(r.out, "  %s is not installed, and was left out\n", name)
	}
	return nil
}

// runIn runs a command in the laptop with a resolv.conf of its own.
func (h *house) runIn(conf, command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "mount --bind '"+conf+"' /etc/resolv.conf && exec "+command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.WaitDelay = time.Second
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.client.NS.Start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}
