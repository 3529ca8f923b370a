// Package support writes a report about a router that can be shown to others:
// what would help to find a fault is in it, and what is private is not.
package support

import (
	"fmt"
	"io"
	"strings"
)

// Section is one part of a report.
type Section struct {
	Title string
	Lines []string
	Err   error // why the rest is missing
}

// Text makes a section of several lines of text.
func Text(title, text string, err error) Section {
	s := Section{Title: title, Err: err}
	if text = strings.Trim(text, "\n"); text != "" {
		s.Lines = strings.Split(text, "\n")
	}
	return s
}

// Write writes the sections, each line as scrub leaves it.
func Write(w io.Writer, sections []Section, scrub func(string) string) error {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "\n== %s\n", s.Title)
		for _, line := range s.Lines {
			fmt.Fprintln(&b, scrub(line))
		}
		switch {
		case s.Err != nil:
			fmt.Fprintf(&b, "(not to be had: %s)\n", scrub(strings.ReplaceAll(s.Err.Error(), "\n", "; ")))
		case len(s.Lines) == 0:
			fmt.Fprintln(&b, "(nothing)")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
