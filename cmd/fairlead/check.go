package main

import (
	"errors"
	"fmt"

	"github.com/fairlead/fairlead/openwrt/config"
)

// checkCommand prints every mistake, one to a line, and the warnings: mistakes to
// standard error, like every command, and warnings as its result.
func checkCommand(e env, args []string) int {
	fs, file := flags(e, "check")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	cfg, err := config.Load(*file, true)
	var mistakes config.Mistakes
	if err != nil && !errors.As(err, &mistakes) {
		return e.fail(err)
	}
	for _, m := range mistakes {
		fmt.Fprintln(e.err, m)
	}
	for _, w := range cfg.Warnings {
		w.What = "warning: " + w.What
		fmt.Fprintln(e.out, w)
	}
	switch {
	case len(mistakes) > 0:
		fmt.Fprintf(e.err, "fairlead: %s has %s\n", *file, count(len(mistakes), "mistake"))
		return 1
	case len(cfg.Warnings) > 0:
		fmt.Fprintf(e.err, "fairlead: %s is valid, with %s\n", *file, count(len(cfg.Warnings), "warning"))
	default:
		fmt.Fprintf(e.err, "fairlead: %s is valid\n", *file)
	}
	return 0
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
