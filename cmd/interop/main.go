// Command interop compares fairlead's DNS with unbound's, answer by answer, has
// tshark look for malformed packets, and lets real programs ask. A router never
// runs it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

func main() {
	code, ran, err := nstest.Enter()
	if err != nil {
		exit(fmt.Errorf("the comparison needs namespaces: %w", err))
	}
	if ran {
		os.Exit(code)
	}
	exit(run(os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "interop: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// errDiffers is that something is not as it should be; the report says what.
var errDiffers = errors.New("not everything is as it should be")

func run(out io.Writer) (err error) {
	fairlead := flag.String("fairlead", "bin/fairlead", "the `binary` to compare")
	seed := flag.Uint64("seed", 1, "of what is random in the questions")
	verbose := flag.Bool("v", false, "print allowed differences, too")
	flag.Parse()

	unbound, err := lookPath("unbound")
	if err != nil {
		fmt.Fprintln(out, "unbound is not installed: there is nothing to compare with")
		return nil
	}
	h, err := newHouse(*fairlead, unbound)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	r := &report{out: out, verbose: *verbose}
	for _, part := range []func(*report) error{
		func(r *report) error { return h.compare(r, questions(h.authority.zone, *seed)) },
		h.letProgramsAsk,
		h.dissect,
	} {
		began := time.Now()
		if err := part(r); err != nil {
			return err
		}
		fmt.Fprintf(out, "  (%.1f s)\n\n", time.Since(began).Seconds())
	}
	if r.failed > 0 {
		return fmt.Errorf("%w: %d faults", errDiffers, r.failed)
	}
	return nil
}

// lookPath finds a program, also where only administrators look.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}

// compare asks both resolvers every question twice, so that the second answer
// comes from the cache where that keeps any.
func (h *house) compare(r *report, all []question) error {
	began := time.Now()
	for round := range 2 {
		for _, q := range all {
			ours, err := h.ask(q, h.fairlead())
			if err != nil {
				return err
			}
			theirs, err := h.ask(q, h.unbound())
			if err != nil {
				return err
			}
			if round > 0 {
				q.about += ", again"
			}
			r.compared(q, ours, theirs, time.Since(began))
		}
	}
	r.summary(len(all), h.authority.asked.Load())
	return nil
}
