package uci

import (
	"errors"
	"fmt"
	"strings"
)

// maxMistakes bounds what is said about a file that is not UCI at all.
const maxMistakes = 100

// Parse reads a configuration file. After a mistake it goes on with the line
// that follows the one on which the statement began; the file holds everything
// that could be read. After a hundred mistakes it gives up.
func Parse(text string) (*File, []Mistake) {
	p := parser{
		text:   text,
		line:   1,
		file:   &File{},
		named:  make(map[string]*Section),
		counts: make(map[string]int),
	}
	for p.skipBlank() && len(p.mistakes) < maxMistakes {
		p.statement()
	}
	return p.file, p.mistakes
}

// parser is the state of reading one file.
type parser struct {
	text     string
	pos      int // the next byte of text
	line     int // its line
	file     *File
	section  *Section            // the one that options go to; nil before the first
	named    map[string]*Section // by name
	counts   map[string]int      // sections by type
	mistakes []Mistake
}

// statement reads one statement. What is wrong with it is reported where it
// begins, and reading goes on behind its first line: a quote that is not closed
// would otherwise swallow everything that follows.
func (p *parser) statement() {
	pos, line := p.pos, p.line
	words, err := p.words()
	if err == nil {
		err = p.command(words, line)
	}
	if err == nil {
		return
	}
	m := Mistake{Line: line, What: err.Error()}
	if p.section != nil && p.section.Type != "" {
		m.Section = p.section.Title()
	}
	p.mistakes = append(p.mistakes, m)
	p.pos, p.line = pos, line
	p.skipLine()
}

func (p *parser) command(words []string, line int) error {
	args := words[1:]
	switch words[0] {
	case "package", "p":
		return needs("package NAME", args, 1, 1)
	case "config", "c":
		return p.config(args, line)
	case "option", "o":
		return p.option(args, line, "option NAME VALUE", (*Section).set)
	case "list", "l":
		return p.option(args, line, "list NAME VALUE", (*Section).add)
	}
	return fmt.Errorf("%q is no statement; there are package, config, option and list", words[0])
}

func needs(form string, args []string, least, most int) error {
	switch {
	case len(args) < least:
		return fmt.Errorf("something is missing; it reads %s", form)
	case len(args) > most:
		return fmt.Errorf("%q is too much; it reads %s, and a value with spaces needs quotes", args[most], form)
	}
	return nil
}

// config opens a section, or one of the same type and name again. The options
// behind a mistake must not go to the section before it, so they go to one that
// is not in the file.
func (p *parser) config(args []string, line int) error {
	p.section = &Section{}
	if err := needs("config TYPE ['NAME']", args, 1, 2); err != nil {
		return err
	}
	s := &Section{Type: args[0], Line: line}
	if len(args) == 2 {
		s.Name = args[1]
	}
	if !isType(s.Type) {
		return fmt.Errorf("%q is no type of section; types are printable ASCII without spaces", s.Type)
	}
	if s.Name != "" && !isName(s.Name) {
		return fmt.Errorf("%q is no name of a section; names are letters, digits and underscores", s.Name)
	}
	if old := p.named[s.Name]; old != nil {
		if old.Type != s.Type {
			return fmt.Errorf("section %q is of type %s already, on line %d", s.Name, old.Type, old.Line)
		}
		old.Again = append(old.Again, line)
		p.section = old
		return nil
	}
	s.Index = p.counts[s.Type]
	p.counts[s.Type]++
	if s.Name != "" {
		p.named[s.Name] = s
	}
	p.file.Sections = append(p.file.Sections, s)
	p.section = s
	return nil
}

func (p *parser) option(args []string, line int, form string, put func(*Section, string, Value)) error {
	if p.section == nil {
		return errors.New("it stands before the first section")
	}
	if err := needs(form, args, 2, 2); err != nil {
		return err
	}
	if !isName(args[0]) {
		return fmt.Errorf("%q is no name of an option; names are letters, digits and underscores", args[0])
	}
	put(p.section, args[0], Value{Text: args[1], Line: line})
	return nil
}

// isName is libuci's rule for the names of sections and options.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != ""
}

// isType is libuci's rule for the types of sections.
func isType(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}
