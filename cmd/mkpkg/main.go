// Command mkpkg makes the packages that a router installs, from the binaries that
// `make cross` built: for opkg all by itself, for apk by the program apk.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// command is one of the words that may follow the program's name.
type command struct {
	name, args, does string
	run              func(out io.Writer, args []string) error
}

func commands() []command {
	return []command{
		{"builds", "[ARCH…]", "print the builds that architectures need, and what go build is told for each", printBuilds},
		{"arches", "", "print every architecture of OpenWrt that there is a build for", printArches},
		{"version", "", "print the version of the packages", printVersion},
		{"ipk", "[ARCH…]", "make packages for opkg", makeIPK},
		{"apk", "[ARCH…]", "make packages for apk, or all that it takes to make them", makeAPK},
		{"size", "[record] [ARCH…]", "print what the packages take, and hold it against what is recorded", printSizes},
		{"cost", "FILE…", "print what fills binaries that have their symbols", printCosts},
	}
}

func main() {
	if err := dispatch(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "mkpkg: %v\n", err)
		os.Exit(1)
	}
}

func dispatch(out io.Writer, args []string) error {
	for _, c := range commands() {
		if len(args) > 0 && c.name == args[0] {
			return c.run(out, args[1:])
		}
	}
	var usage strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&usage, "\n  %-8s %-17s %s", c.name, c.args, c.does)
	}
	return fmt.Errorf("say what to do:%s", usage.String())
}

func printBuilds(out io.Writer, args []string) error {
	all, err := chosen(args)
	for _, b := range all {
		fmt.Fprintln(out, b.name, strings.Join(b.env, " "))
	}
	return err
}

func printArches(out io.Writer, _ []string) error {
	for _, a := range every() {
		fmt.Fprintln(out, a)
	}
	return nil
}

func printVersion(out io.Writer, _ []string) error {
	f, err := readFeed(feedDir + "/Makefile")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, f.version())
	return nil
}
