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
	"slices"
	"strings"
)

// suite is a room whose tests run on every machine: those that match run, except
// those that match skip.
type suite struct{ room, run, skip string }

// suites are the rooms that speak to the kernel, without what takes long, and the
// ways of a house that show each part of the gateway once.
func suites() []suite {
	return []suite{
		{room: "nft", skip: "LargeMap|Many|WasSetLast|SetsAreReplaced|WhatLedTo|Writers|TestReloadGivesWhatInstallGives/^([b-z]|a.*_to_[^i])"},
		{room: "nft/route"},
		{room: "gateway/tproxy"},
		{room: "openwrt/lease", skip: "DNSMasq"},
		{room: "gateway/relay", skip: "Bulk|ArrivesWhole"},
		{room: "gateway/outbound", run: "Mapping|Datagram|Burst|Direct|Refus|Socket|MPTCP|Interface|Address"},
		{room: "cmd/fairlead", run: "TestTheDemoShowsNothingWrong|TestAfterACrashTheHouseHasAnOrdinaryRouter|TestANamesFlowsLeaveThroughItsInterfaceInTheKernel|" +
			"TestADirectUDPFlowToALiteralAddressIsHandedBackToTheKernel|TestALargeDatagramArrivesWhole|TestAnIdleDaemonFitsARoutersMemory"},
	}
}

// suites are those of the job: of some rooms only, if it names any, and of some
// tests only.
func (j job) suites() []suite {
	var all []suite
	for _, s := range suites() {
		if len(j.rooms) == 0 || slices.Contains(j.rooms, s.room) {
			all = append(all, s)
		}
	}
	for _, room := range j.rooms {
		if !slices.ContainsFunc(all, func(s suite) bool { return s.room == room }) {
			all = append(all, suite{room: room})
		}
	}
	for i := range all {
		if j.run != "" {
			all[i].run, all[i].skip = j.run, ""
		}
	}
	return all
}

// words are the command that runs the suite.
func (s suite) words(program string, j job) []string {
	words := []string{program, "-test.timeout=" + j.limit.String()}
	if s.run != "" {
		words = append(words, "-test.run="+s.run)
	}
	if s.skip != "" {
		words = append(words, "-test.skip="+s.skip)
	}
	if j.verbose {
		words = append(words, "-test.v")
	}
	return words
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
		commands = append(commands, strings.Join(append([]string{env}, s.words(path.Join(at, "test"), j)...), " "))
	}
	return commands, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// compile builds a room, or its tests, for the machine.
func (m machine) compile(ctx context.Context, kind, to, room string) error {
	args := []string{kind, "-tags=vm", "-trimpath", "-ldflags=-s -w", "-o", to}
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
