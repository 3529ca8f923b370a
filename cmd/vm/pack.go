package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// suite is a room whose tests run on every machine: all, or those that match.
type suite struct{ room, run string }

// suites are the rooms that speak to the kernel, and the ways of a house that
// show each part of the gateway once.
func suites() []suite {
	return []suite{
		{"nft", ""},
		{"nft/route", ""},
		{"gateway/tproxy", ""},
		{"gateway/relay", ""},
		{"gateway/outbound", ""},
		{"cmd/fairlead", "TestTheDemoShowsNothingWrong|TestAfterACrashTheHouseHasAnOrdinaryRouter|TestANamesFlowsLeaveThroughItsInterfaceInTheKernel|" +
			"TestADirectUDPFlowToALiteralAddressIsHandedBackToTheKernel|TestALargeDatagramArrivesWhole|TestAnIdleDaemonFitsARoutersMemory"},
	}
}

// suites are those of the job.
func (j job) suites() []suite {
	if len(j.rooms) == 0 && j.run == "" {
		return suites()
	}
	var all []suite
	for _, s := range suites() {
		if len(j.rooms) == 0 {
			all = append(all, suite{s.room, j.run})
		}
	}
	for _, room := range j.rooms {
		all = append(all, suite{path.Clean(room), j.run})
	}
	return all
}

// daemonPath is where a machine has the program under test.
const daemonPath = "/usr/bin/fairlead"

// pack builds what the job needs and writes a machine's first file system.
func (j job) pack(ctx context.Context, m machine, root, dir, initrd string) (err error) {
	file, err := os.Create(initrd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriter(file)
	a := newInitramfs(w)
	a.device("dev/console", 5, 1)
	if err := m.packSystem(ctx, a, root, dir); err != nil {
		return err
	}
	commands, err := j.packTests(ctx, m, a, dir)
	if err != nil {
		return err
	}
	a.add("commands", []byte(strings.Join(commands, "\n")+"\n"))
	return errors.Join(a.close(), w.Flush())
}

// packSystem packs init, modules, and the programs that are Debian's.
func (m machine) packSystem(ctx context.Context, a *initramfs, root, dir string) error {
	init := filepath.Join(dir, "init")
	if err := m.compile(ctx, "build", init, "cmd/vm/init"); err != nil {
		return err
	}
	a.copy("init", init)
	modules, err := inOrder(filepath.Join(root, "lib", "modules"), wanted())
	if err != nil {
		return err
	}
	for i, mod := range modules {
		a.add(fmt.Sprintf("mods/%03d-%s.ko", i, mod.name), mod.content)
	}
	files, err := withLibraries(root, programs())
	if err != nil {
		return err
	}
	for name, from := range files {
		a.copy(name, from)
	}
	return nil
}

// packTests packs the tests of each suite with their data, and gives the
// commands that run them.
func (j job) packTests(ctx context.Context, m machine, a *initramfs, dir string) (commands []string, err error) {
	env := "CI=vm"
	if j.daemon != "" {
		a.copy(daemonPath, strings.ReplaceAll(j.daemon, "%", m.name))
		env += " FAIRLEAD_TEST_BINARY=" + daemonPath
	}
	for _, s := range j.suites() {
		program := filepath.Join(dir, strings.ReplaceAll(s.room, "/", "-")+".test")
		if err := m.compile(ctx, "test", program, s.room); err != nil {
			return nil, err
		}
		at := path.Join("/tests", s.room)
		a.copy(path.Join(at, "test"), program)
		if data := filepath.Join(s.room, "testdata"); exists(data) {
			a.copy(path.Join(at, "testdata"), data)
		}
		words := []string{env, path.Join(at, "test"), "-test.timeout=" + j.limit.String()}
		if s.run != "" {
			words = append(words, "-test.run=^("+s.run+")$")
		}
		if j.verbose {
			words = append(words, "-test.v")
		}
		commands = append(commands, strings.Join(words, " "))
	}
	return commands, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// compile builds a room, or its tests, for the machine.
func (m machine) compile(ctx context.Context, kind, to, room string) error {
	args := []string{kind, "-trimpath", "-ldflags=-s -w", "-o", to}
	if kind == "test" {
		args = append(args, "-c")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+room)...)
	cmd.Env = append(append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0"), m.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", room, err, out)
	}
	return nil
}
