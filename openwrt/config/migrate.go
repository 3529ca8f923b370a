package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// rename is one change of the configuration's language between versions: an
// option, or one value of it, is called otherwise. A name that was given up never
// gets another meaning, so what a file says tells how old it is, and a file of any
// version can be read.
type rename struct {
	section string // type
	option  string // as it was called
	value   string // as it was called; empty: the option's own name changed
	to      string // what the option, or the value, is called now
	since   string // version
}

// renames are all there were, the oldest first.
func renames() []rename { return nil }

// migrated is one option that a rename has changed.
type migrated struct {
	section *uci.Section
	option  *uci.Option // as it is now
	was     string      // its name before this change
	dropped bool        // what it is called now was there beside it, and counts
	by      rename
	line    int
}

// migrate turns what older versions wrote into what this one reads, in memory.
func migrate(f *uci.File, changes []rename) []migrated {
	var all []migrated
	for _, by := range changes {
		for _, s := range f.Sections {
			o := s.Option(by.option)
			if s.Type != by.section || o == nil {
				continue
			}
			m := migrated{section: s, option: o, was: o.Name, by: by, line: o.Values[len(o.Values)-1].Line}
			switch {
			case by.value != "":
				if !replaceValue(o, by.value, by.to) {
					continue
				}
			case s.Option(by.to) != nil:
				m.dropped = true
				s.Options = slices.DeleteFunc(s.Options, func(x *uci.Option) bool { return x == o })
			default:
				o.Name = by.to
			}
			all = append(all, m)
		}
	}
	return all
}

// replaceValue says whether the option had the value.
func replaceValue(o *uci.Option, old, now string) bool {
	found := false
	for i := range o.Values {
		if o.Values[i].Text == old {
			o.Values[i].Text, found = now, true
		}
	}
	return found
}

// migrate warns of all that was changed, so that the file can be.
func (b *builder) migrate(f *uci.File, changes []rename) {
	for _, m := range migrate(f, changes) {
		what := fmt.Sprintf("since version %s it is called %s; `fairlead migrate` rewrites it", m.by.since, m.by.to)
		switch {
		case m.dropped:
			what = fmt.Sprintf("since version %s it is called %s, which is there, too: this one is not read", m.by.since, m.by.to)
		case m.by.value != "":
			what = fmt.Sprintf("since version %s the value %s is called %s; `fairlead migrate` rewrites it", m.by.since, m.by.value, m.by.to)
		}
		b.warnings = append(b.warnings, Mistake{File: b.file, Line: m.line, Section: m.section.Title(), Option: m.was, What: what})
	}
}

// Migration gives the commands by which `uci batch` makes the configuration file
// at path, which an older version may have written, say the same in this version's
// words, up to the commit; it is empty if there is nothing to be changed. The
// package is called as the file is.
func Migration(path string) (batch string, err error) {
	text, err := readFile(path)
	if err != nil {
		return "", err
	}
	return migration(path, text, renames()), nil
}

func migration(path, text string, changes []rename) string {
	file, _ := uci.Parse(text)
	all := migrate(file, changes)
	if len(all) == 0 {
		return ""
	}
	var b strings.Builder
	pack := filepath.Base(path)
	for i, m := range all {
		same := func(other migrated) bool { return other.option == m.option }
		at := pack + "." + m.section.Title() + "."
		if !slices.ContainsFunc(all[:i], same) {
			fmt.Fprintf(&b, "delete %s%s\n", at, m.was)
		}
		if !m.dropped && !slices.ContainsFunc(all[i+1:], same) {
			write(&b, at, m.option)
		}
	}
	fmt.Fprintf(&b, "commit %s\n", pack)
	return b.String()
}

// write sets an option that is not there.
func write(b *strings.Builder, at string, o *uci.Option) {
	command := "set"
	if o.List {
		command = "add_list"
	}
	for _, v := range o.Values {
		fmt.Fprintf(b, "%s %s%s=%s\n", command, at, o.Name, uci.Quote(v.Text))
	}
}
