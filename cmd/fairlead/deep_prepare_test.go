package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asPrepared makes this test binary change what it sees of its machine, for
// itself alone, and then become fairlead. Its value is a preparation.
const asPrepared = "FAIRLEAD_TEST_PREPARATION"

// preparation is how a daemon's machine differs from this one.
type preparation struct {
	Over  map[string]string // paths, and the files that are seen there instead
	Small string            // a directory on a file system of its own, of a few pages, all of them taken
	Files uint64            // descriptors that it may have; 0: as many as this process
}

// startPrepared is start on a machine that was prepared.
func (h *home) startPrepared(t *testing.T, p preparation) {
	t.Helper()
	text, err := json.Marshal(p)
	ok(t, err)
	d, err := h.Run(exec.Command(self(t), "run", "-c", h.config), asPrepared+"="+string(text))
	ok(t, err)
	h.daemon = d
	ok(t, d.Ready(h.ctx()))
}

// becomePrepared does not return: it ends as fairlead or with a message.
func becomePrepared(text string) {
	runtime.LockOSThread() // the mount namespace is this thread's, which calls exec
	var p preparation
	err := json.Unmarshal([]byte(text), &p)
	if err == nil {
		err = p.apply()
	}
	if err == nil {
		os.Unsetenv(asPrepared)
		os.Setenv(asFairlead, "1")
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "preparing fairlead's machine:", err)
	os.Exit(1)
}

func (p preparation) apply() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unsharing mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	for path, file := range p.Over {
		if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("showing %s at %s: %w", file, path, err)
		}
	}
	if p.Small != "" {
		if err := mountFull(p.Small); err != nil {
			return fmt.Errorf("filling %s: %w", p.Small, err)
		}
	}
	if p.Files == 0 {
		return nil
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: p.Files, Max: p.Files})
}

// mountFull makes a directory a file system with room for files, but for none
// of their bytes.
func mountFull(dir string) error {
	before, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	kept := make(map[string][]byte)
	for _, e := range before {
		if kept[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	for name, b := range kept {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(dir, fillerName))
	if err != nil {
		return err
	}
	defer f.Close()
	for page := make([]byte, os.Getpagesize()); err == nil; {
		_, err = f.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	return nil
}

// fillerName is of the file that takes all room.
const fillerName = "filler"
