// Package uci reads the file format of OpenWrt's Unified Configuration
// Interface as libuci does, and keeps the line of everything it reads.
package uci

import (
	"fmt"
	"strings"
)

// File is what one configuration file says.
type File struct {
	Sections []*Section // in order
}

// Section is one `config TYPE ['NAME']` with its options.
type Section struct {
	Type    string
	Name    string // empty: unnamed
	Index   int    // position among the sections of its type, named ones counted, from 0
	Line    int    // where it was opened first
	Again   []int  // lines that opened it again: libuci merges sections of one type and name
	Options []*Option
}

// Option is what a section says under one name: the last `option`, or every `list`.
type Option struct {
	Name   string
	List   bool    // written as list
	Values []Value // never empty; one unless List
}

// Value is one value as unquoted, and the line of its statement.
type Value struct {
	Text string
	Line int
}

// Mistake is something that is not UCI.
type Mistake struct {
	Line    int    // where the statement begins
	Section string // the Title of the section it stands in; empty before the first
	What    string
}

// Title is the section's name, or `@TYPE[INDEX]` as the uci command calls an unnamed one.
func (s *Section) Title() string {
	if s.Name != "" {
		return s.Name
	}
	return fmt.Sprintf("@%s[%d]", s.Type, s.Index)
}

// Option gives what the section says under a name, or nil.
func (s *Section) Option(name string) *Option {
	for _, o := range s.Options {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// String is the file as text that parses to the same sections.
func (f *File) String() string {
	var b strings.Builder
	for _, s := range f.Sections {
		s.print(&b)
	}
	return b.String()
}

func (s *Section) print(b *strings.Builder) {
	fmt.Fprintf(b, "\nconfig %s", Quote(s.Type))
	if s.Name != "" {
		fmt.Fprintf(b, " %s", Quote(s.Name))
	}
	b.WriteByte('\n')
	for _, o := range s.Options {
		command := "option"
		if o.List {
			command = "list"
		}
		for _, v := range o.Values {
			fmt.Fprintf(b, "\t%s %s %s\n", command, o.Name, Quote(v.Text))
		}
	}
}

// Quote puts single quotes around a value. Nothing is special between them, so
// a single quote itself has to stand outside. The uci command reads it, too.
func Quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// set does what libuci does with an `option`: the last one counts, and an
// empty value takes the option away.
func (s *Section) set(name string, v Value) {
	old := s.Option(name)
	switch {
	case v.Text == "":
		s.remove(name)
	case old == nil:
		s.Options = append(s.Options, &Option{Name: name, Values: []Value{v}})
	default:
		old.List, old.Values = false, []Value{v}
	}
}

// add does what libuci does with a `list`: values collect, after that of an
// `option` of the same name too.
func (s *Section) add(name string, v Value) {
	old := s.Option(name)
	if old == nil {
		s.Options = append(s.Options, &Option{Name: name, List: true, Values: []Value{v}})
		return
	}
	old.List = true
	old.Values = append(old.Values, v)
}

func (s *Section) remove(name string) {
	for i, o := range s.Options {
		if o.Name == name {
			s.Options = append(s.Options[:i], s.Options[i+1:]...)
			return
		}
	}
}
