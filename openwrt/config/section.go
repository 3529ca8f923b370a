package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// section is a section of the file, read by its entry in the schema. What is
// wrong with a value is reported where it stands, and the zero value returned.
type section struct {
	*uci.Section
	b       *builder
	schema  []option
	enabled bool
}

// one reads an option, or its default; the zero value if it has neither.
func one[T any](s *section, name string, parse func(string) (T, error)) T {
	var zero T
	v := uci.Value{Text: s.entry(name).def, Line: s.Line}
	if o := s.Option(name); o != nil {
		v = o.Values[len(o.Values)-1]
	}
	if v.Text == "" {
		return zero
	}
	x, err := parse(v.Text)
	if err != nil {
		s.mistake(name, v.Line, "%w", err)
		return zero
	}
	return x
}

// every reads all values of an option; those with mistakes are missing.
func every[T any](s *section, name string, parse func(string) (T, error)) []T {
	o := s.Option(name)
	if o == nil {
		return nil
	}
	var all []T
	for _, v := range o.Values {
		x, err := parse(v.Text)
		if err != nil {
			s.mistake(name, v.Line, "%w", err)
			continue
		}
		all = append(all, x)
	}
	return all
}

func (s *section) flag(name string) bool { return one(s, name, parseBool) }

// disabled says whether the section is switched off. One whose switch is a
// mistake is not, or whatever refers to it would be a mistake too.
func (s *section) disabled() bool {
	return one(s, "enabled", func(v string) (bool, error) {
		on, err := parseBool(v)
		return !on, err
	})
}

func (s *section) number(name string) int { return one(s, name, s.entry(name).parseNumber) }

func (s *section) seconds(name string) time.Duration {
	return time.Duration(s.number(name)) * time.Second
}

func (s *section) choice(name string) string { return one(s, name, s.entry(name).parseChoice) }

func (s *section) text(name string) string {
	return one(s, name, func(v string) (string, error) { return v, nil })
}

func (s *section) reference(name, typ string) string { return one(s, name, s.b.reference(typ)) }

// has says whether the file sets an option.
func (s *section) has(name string) bool { return s.Option(name) != nil }

// lineOf gives the line of an option, or the section's if it is absent.
func (s *section) lineOf(name string) int {
	if o := s.Option(name); o != nil {
		return o.Values[len(o.Values)-1].Line
	}
	return s.Line
}

// entry gives an option's entry in the schema.
func (s *section) entry(name string) option {
	i := slices.IndexFunc(s.schema, func(o option) bool { return o.name == name })
	return s.schema[i] // asking for one that is not there is a mistake in the program
}

// need reports options without which the section has no meaning.
func (s *section) need(names ...string) {
	for _, name := range names {
		if !s.has(name) {
			s.mistake(name, s.Line, "it is needed here")
		}
	}
}

// checkName reports sections that nothing could refer to, or whose name stands
// for something else.
func (s *section) checkName() {
	referred := s.Type == "upstream" || s.Type == "outbound" || s.Type == "ruleset"
	switch {
	case referred && s.Name == "":
		s.mistake("", s.Line, "it needs a name to be used by: config %s 'NAME'", s.Type)
	case s.Type == "client" && s.Name == "default":
		s.mistake("", s.Line, "clients that no section matches are called default; this one needs another name")
	}
}

// checkOptions reports options that the section's type does not take, and
// lists of what is single.
func (s *section) checkOptions() {
	var known []string
	for _, o := range s.schema {
		known = append(known, o.name)
	}
	for _, o := range s.Options {
		line := o.Values[len(o.Values)-1].Line
		switch {
		case !slices.Contains(known, o.Name):
			s.unknown(o.Name, line, "there is no such option in a section of type %s%s", s.Type, Suggest(o.Name, known))
		case len(o.Values) > 1 && !s.entry(o.Name).list:
			s.mistake(o.Name, line, "it takes one value, not %d", len(o.Values))
		}
	}
}

func (s *section) mistake(option string, line int, format string, args ...any) {
	s.b.mistakes = append(s.b.mistakes, s.note(option, line, format, args))
}

func (s *section) warn(option string, line int, format string, args ...any) {
	s.b.warnings = append(s.b.warnings, s.note(option, line, format, args))
}

// unknown reports what this version does not know: a newer one may.
func (s *section) unknown(option string, line int, format string, args ...any) {
	if s.b.strict {
		s.mistake(option, line, format, args...)
	} else {
		s.warn(option, line, format, args...)
	}
}

func (s *section) note(option string, line int, format string, args []any) Mistake {
	return Mistake{
		File:    s.b.file,
		Line:    line,
		Section: s.Title(),
		Option:  option,
		What:    fmt.Errorf(format, args...).Error(),
	}
}

func parseBool(s string) (bool, error) {
	switch s {
	case "1", "yes", "on", "true":
		return true, nil
	case "0", "no", "off", "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is no boolean: write 1 or 0, yes or no, on or off, true or false", s)
}

func (o option) parseNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, fmt.Errorf("%q is no whole number", s)
	case err != nil, int(n) < o.min, int(n) > o.max:
		return 0, fmt.Errorf("%s is out of range: write %d to %d", s, o.min, o.max)
	}
	return int(n), nil
}

func (o option) parseChoice(s string) (string, error) {
	if slices.Contains(o.choices, s) {
		return s, nil
	}
	return "", fmt.Errorf("%q is none of %s%s", s, enumerate(o.choices), Suggest(s, o.choices))
}

// chosen makes a parser refuse what is not among the option's choices, as a
// section may take fewer values than there are.
func chosen[T any](o option, parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		if _, err := o.parseChoice(s); err != nil {
			var zero T
			return zero, err
		}
		return parse(s)
	}
}
