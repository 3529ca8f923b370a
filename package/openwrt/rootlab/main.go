// Command rootlab stands in for the programs of OpenWrt that a package meets:
// procd, ubus, netifd, uci, ujail, opkg, apk, fw4 and flock, each by its own name. They do
// what fairlead's package relies on, as the originals do it, and no more; what
// they do not know they refuse.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	run, ok := map[string]func([]string) error{
		"procd": procd, "ubus": ubusCommand, "uci": uciCommand, "ujail": ujail, jailed: jailedCommand, "opkg": opkg, "apk": apk, "fw4": fw4, "flock": flock,
	}[name]
	if !ok {
		run = func([]string) error { return errors.New("there is no such program to stand in for") }
	}
	err := run(args)
	var exit exitCode
	if errors.As(err, &exit) {
		os.Exit(int(exit))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// exitCode ends a program without a word.
type exitCode int

// Error says the code, in case that somebody prints it all the same.
func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// flock locks a file descriptor of the calling shell, which BusyBox in Debian
// has no program for.
func flock(args []string) error {
	if len(args) != 1 || len(args[0]) != 1 {
		return fmt.Errorf("flock FD, not flock %q", args)
	}
	return unix.Flock(int(args[0][0]-'0'), unix.LOCK_EX)
}
