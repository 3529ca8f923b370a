//go:build router

package main

import "errors"

// demoCommand is for people's own machines: a router's flash has better uses
// for the megabyte that the lab takes.
func demoCommand(e env, args []string) int {
	fs, _ := flags(e, "demo")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	return e.fail(errors.New("this build is for routers and has no demo: run it from a build for your own machine"))
}
