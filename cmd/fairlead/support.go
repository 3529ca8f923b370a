package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/support"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
	"github.com/fairlead/fairlead/openwrt/lease"
)

const (
	// logTime bounds the reading of the system's log.
	logTime = 5 * time.Second
	// maxLog bounds what is read of it, in bytes: a router's has 64 KB.
	maxLog = 2 << 20
)

const supportHead = `fairlead support report. Passwords, nodes, sites, names and full addresses of devices
are taken out; names of sections are not. Read it before you send it to anybody.
`

// supportCommand writes a report to be sent to whoever is asked for help.
func supportCommand(e env, args []string) int {
	fs, file := flags(e, "support")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	p := patient{file: *file, log: systemLog}
	if err := p.report(e.out); err != nil {
		return e.fail(err)
	}
	return 0
}

// patient is the router that a report is about.
type patient struct {
	file string
	root string // of the file system, empty: /
	log  func() (string, error)
}

// report writes all that can be had; what cannot says why.
func (p patient) report(w io.Writer) error {
	clients, clientsErr := clientsOf(p.file)
	redaction, redactionErr := config.Redact(p.file)
	sections := slices.Concat(
		[]support.Section{p.versions(), support.Text("configuration", redaction.Text, redactionErr), p.check(redaction)},
		[]support.Section{p.status(), p.doctor(), anonymous(clients, clientsErr)},
		p.kernel(), p.machine().Sections(),
		[]support.Section{p.logged()},
	)
	private := append(p.names(clients), redaction.Hidden...)
	if _, err := io.WriteString(w, supportHead); err != nil {
		return err
	}
	return support.Write(w, sections, support.NewScrubber(private).Line)
}

// names are what devices call themselves, and what people call them.
func (p patient) names(l clientList) []string {
	book := lease.NewBook(p.leases(), "", slog.New(slog.DiscardHandler))
	all := book.Hostnames()
	for _, c := range l.Clients {
		all = append(all, c.Hostname)
	}
	return all
}

func (p patient) leases() lease.Paths {
	paths := lease.DefaultPaths()
	for _, list := range [][]string{paths.Leases, paths.Hosts} {
		for i := range list {
			list[i] = filepath.Join("/", p.root, list[i])
		}
	}
	paths.DHCP = filepath.Join("/", p.root, paths.DHCP)
	return paths
}

func (p patient) versions() support.Section {
	s := support.Section{Title: "versions", Lines: []string{
		fmt.Sprintf("fairlead %s, built %s, %s %s/%s", version, builtAt(), runtime.Version(), runtime.GOOS, runtime.GOARCH),
	}}
	var u unix.Utsname
	if s.Err = unix.Uname(&u); s.Err == nil {
		s.Lines = append(s.Lines, fmt.Sprintf("%s %s %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])))
	}
	return s
}

func builtAt() string {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil || seconds == 0 {
		return "at an unknown time"
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly)
}

func (p patient) check(r config.Redaction) support.Section {
	cfg, err := config.Load(p.file, true)
	var mistakes config.Mistakes
	if err != nil && !errors.As(err, &mistakes) {
		return support.Section{Title: "check", Err: err}
	}
	s := support.Section{Title: "check"}
	for _, m := range mistakes {
		s.Lines = append(s.Lines, r.Line(m))
	}
	for _, m := range cfg.Warnings {
		s.Lines = append(s.Lines, "warning: "+r.Line(m))
	}
	return s
}

// status is without the configuration's warnings: they stand under check.
func (p patient) status() support.Section {
	s, err := statusOf(p.file)
	if err != nil {
		return support.Section{Title: "status", Err: err}
	}
	s.Warnings = slices.DeleteFunc(s.Warnings, func(w string) bool { return strings.HasPrefix(w, p.file+":") })
	var b strings.Builder
	s.print(&b)
	return support.Text("status", b.String(), nil)
}

func (p patient) doctor() support.Section {
	x, err := examine(p.file)
	if err != nil {
		return support.Section{Title: "doctor", Err: plain(err)}
	}
	var b strings.Builder
	x.print(&b)
	return support.Text("doctor", b.String(), nil)
}

// plain is an error that quotes nothing of the configuration: what is wrong there
// stands under check.
func plain(err error) error {
	var mistakes config.Mistakes
	if errors.As(err, &mistakes) {
		return errors.New("the configuration has mistakes")
	}
	return err
}

// anonymous lists clients without who they are.
func anonymous(l clientList, err error) support.Section {
	s := support.Section{Title: "clients", Err: plain(err)}
	for i, c := range l.Clients {
		v4, named := 0, "without a name"
		for _, a := range c.Addresses {
			if a.Is4() {
				v4++
			}
		}
		if c.Hostname != "" {
			named = "with a name"
		}
		s.Lines = append(s.Lines, fmt.Sprintf("%d: %s on %s, %d IPv4 and %d IPv6, %s: client %s, mode %s, outbound %s",
			i+1, or(c.MAC, "no MAC"), c.Device, v4, len(c.Addresses)-v4, named, c.Client, c.Mode, c.Outbound))
	}
	return s
}

// kernel is what of ours the kernel has.
func (p patient) kernel() []support.Section {
	table := support.Section{Title: "table inet " + nft.TableName}
	table.Lines, table.Err = p.table()
	routes := support.Section{Title: "rules and routes"}
	routes.Lines, routes.Err = route.Ours()
	return []support.Section{table, routes}
}

func (p patient) table() (lines []string, err error) {
	cfg, err := config.Load(p.file, false)
	if err != nil {
		return nil, plain(err)
	}
	gen, err := newGeneration(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer gen.close()
	home, _, err := route.Connected(gen.devices)
	if err != nil {
		return nil, err
	}
	want, err := gen.ruleset(home, lease.NewBook(p.leases(), cfg.DNS.LocalDomain, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	t, err := nft.Open(nft.Options{})
	if err != nil {
		return nil, err
	}
	defer t.Close()
	have, err := t.Inventory(want)
	if err != nil || len(have.Rules) == 0 {
		return nil, err
	}
	lines = append(lines, fmt.Sprintf("as the configuration and this machine's addresses say: %t", have.Current))
	for _, chain := range slices.Sorted(maps.Keys(have.Rules)) {
		lines = append(lines, fmt.Sprintf("chain %s: %s", chain, count(have.Rules[chain], "rule")))
	}
	for _, set := range slices.Sorted(maps.Keys(have.Elements)) {
		if strings.HasPrefix(set, "__") {
			continue // a constant within a rule
		}
		lines = append(lines, fmt.Sprintf("set %s: %s", set, count(have.Elements[set], "element")))
	}
	return lines, nil
}

// machine is the router itself, with the interfaces and directories that matter.
func (p patient) machine() support.Machine {
	m := support.Machine{Root: p.root, Dirs: []string{"/", "/overlay", "/tmp"}}
	cfg, err := config.Load(p.file, false)
	if err != nil {
		return m
	}
	quiet := slog.New(slog.DiscardHandler)
	if networks, err := netifdOf(cfg, quiet).networks(); err == nil {
		m.Devices = networks.devices(cfg.Devices, cfg.Networks, quiet)
	}
	return m
}

// logged is what fairlead told the system's log, where there is a program to read
// it: logread of OpenWrt.
func (p patient) logged() support.Section {
	text, err := p.log()
	return support.Section{Title: "log", Lines: support.Log(text), Err: err}
}

// systemLog is the log of OpenWrt's logd.
func systemLog() (string, error) { return printed("/sbin/logread") }

// printed is what a program prints. It is started without os/exec, which would
// cost 64 KB of flash (linux/mipsle).
func printed(program string) (string, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("reading the log: %w", err)
	}
	defer out.Close()
	p, err := os.StartProcess(program, []string{program}, &os.ProcAttr{Files: []*os.File{nil, in, nil}})
	in.Close()
	if err != nil {
		return "", fmt.Errorf("reading the log: %w", err)
	}
	out.SetReadDeadline(time.Now().Add(logTime))
	text, err := io.ReadAll(io.LimitReader(out, maxLog))
	p.Kill() // there may be more than is read
	p.Wait()
	return string(text), err
}
