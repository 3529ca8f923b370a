package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// report counts, and prints what is wrong.
type report struct {
	out     io.Writer
	verbose bool
	equal   int
	failed  int
	allowed map[string]int // by reason
}

// fail prints what is not as it should be.
func (r *report) fail(format string, args ...any) {
	r.failed++
	fmt.Fprintf(r.out, "FAIL  "+format+"\n", args...)
}

// compared notes how the answers to a question differ.
func (r *report) compared(q question, ours, theirs reply, age time.Duration) {
	for _, fault := range faults(q, ours) {
		r.fail("%s\n      %s", q, fault)
	}
	found := differences(ours, theirs, age)
	if len(found) == 0 {
		r.equal++
	}
	for _, d := range found {
		a, ok := allowance(q, d, ours, theirs)
		if !ok {
			r.fail("%s\n      %s: ours   %s\n      %*s  theirs %s", q, d.aspect, indent(d.ours), len(d.aspect), "", indent(d.theirs))
			continue
		}
		if r.allowed == nil {
			r.allowed = make(map[string]int)
		}
		r.allowed[a.why]++
		if r.verbose {
			fmt.Fprintf(r.out, "ok    %s\n      %s: %s\n      ours   %s\n      theirs %s\n", q, d.aspect, a.why, indent(d.ours), indent(d.theirs))
		}
	}
}

func indent(text string) string {
	if len(text) > 800 {
		text = text[:800] + " ..."
	}
	return strings.ReplaceAll(text, "\n", "\n               ")
}

// summary says how the comparison went.
func (r *report) summary(questions int, asked int64) {
	fmt.Fprintf(r.out, "%d questions, asked twice of fairlead and of unbound: %d times the answers were the same.\n", questions, r.equal)
	fmt.Fprintf(r.out, "The server behind them was asked %d times.\n", asked)
	for _, a := range allowances() {
		if n := r.allowed[a.why]; n > 0 {
			fmt.Fprintf(r.out, "  %4d differences allowed: %s\n", n, a.why)
		}
	}
}
