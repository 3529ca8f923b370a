package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lock is what one running fairlead has: a file of its state directory, and a
// name in its network, whose table, rules and ports are one for all state
// directories. The kernel gives both back when the process ends, however it ends.
type lock struct {
	file    *os.File // nil without a state directory
	network net.Listener
}

// networkLock is an abstract socket (unix(7)): each network namespace has its own.
const networkLock = "@fairlead"

func takeLock(stateDir string) (*lock, error) {
	l := new(lock)
	if _, err := os.Stat(stateDir); err == nil {
		if l.file, err = lockFile(filepath.Join(stateDir, "lock")); err != nil {
			return nil, err
		}
	}
	var err error
	if l.network, err = net.Listen("unix", networkLock); err != nil {
		l.Close()
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, errors.New("another fairlead is running on this network, with another state directory than " + stateDir)
		}
		return nil, fmt.Errorf("locking the network: %w", err)
	}
	return l, nil
}

// Close gives the lock back.
func (l *lock) Close() error {
	var errs []error
	if l.network != nil {
		errs = append(errs, l.network.Close())
	}
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	return errors.Join(errs...)
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := os.ReadFile(path)
		f.Close()
		return nil, fmt.Errorf("another fairlead is running (process %s holds %s)", strings.TrimSpace(string(holder)), path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	// Who has it is told for a message only: a full disk is no reason not to run.
	if f.Truncate(0) == nil {
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f, nil
}
