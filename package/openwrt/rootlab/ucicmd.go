package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// Where configurations lie, and changes that are not committed.
const (
	configDir = "/etc/config"
	stagedDir = "/tmp/.uci"
)

// uciCommand is the program uci: changes are staged until they are committed.
func uciCommand(args []string) error {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:] // -q, -S, -n: nothing differs for us
	}
	if len(args) == 0 {
		return errors.New("uci COMMAND [ARGUMENT]")
	}
	argument := ""
	if len(args) > 1 {
		argument = args[1]
	}
	switch args[0] {
	case "export", "show":
		return printConfig(args[0], argument)
	case "get":
		return getOption(argument)
	case "set", "add_list", "delete":
		return change(args[0], argument)
	case "commit":
		return commit(argument)
	}
	return fmt.Errorf("this stand-in knows no uci %s", args[0])
}

// load reads a configuration, with what is staged.
func load(pkg string) (*uci.File, error) {
	text, err := os.ReadFile(filepath.Join(stagedDir, pkg))
	if errors.Is(err, os.ErrNotExist) {
		text, err = os.ReadFile(filepath.Join(configDir, pkg))
	}
	if err != nil {
		return nil, errors.New("Entry not found")
	}
	file, mistakes := uci.Parse(string(text))
	if len(mistakes) > 0 {
		return nil, fmt.Errorf("Parse error (%s) at line %d", mistakes[0].What, mistakes[0].Line)
	}
	return file, nil
}

func printConfig(form, pkg string) error {
	file, err := load(pkg)
	if err != nil {
		return err
	}
	if form == "export" {
		fmt.Printf("package %s\n", pkg)
		for n, s := range file.Sections {
			if s.Name == "" {
				s.Name = fmt.Sprintf("cfg%02x", n)
			}
		}
		fmt.Print(file.String())
		return nil
	}
	for _, s := range file.Sections {
		fmt.Printf("%s.%s=%s\n", pkg, s.Title(), s.Type)
		for _, o := range s.Options {
			fmt.Printf("%s.%s.%s=%s\n", pkg, s.Title(), o.Name, strings.Join(quoted(o), " "))
		}
	}
	return nil
}

func quoted(o *uci.Option) (all []string) {
	for _, v := range o.Values {
		all = append(all, uci.Quote(v.Text))
	}
	return all
}

// place is PACKAGE.SECTION[.OPTION].
type place struct{ pkg, section, option string }

func parsePlace(text string) (place, error) {
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return place{}, errors.New("Invalid argument")
	}
	p := place{pkg: parts[0], section: parts[1]}
	if len(parts) == 3 {
		p.option = parts[2]
	}
	return p, nil
}

func (p place) find(file *uci.File) *uci.Section {
	for _, s := range file.Sections {
		if s.Title() == p.section || s.Name == p.section {
			return s
		}
	}
	return nil
}

func getOption(text string) error {
	p, err := parsePlace(text)
	if err != nil {
		return err
	}
	file, err := load(p.pkg)
	if err != nil {
		return err
	}
	s := p.find(file)
	if s == nil || s.Option(p.option) == nil {
		return errors.New("Entry not found")
	}
	var values []string
	for _, v := range s.Option(p.option).Values {
		values = append(values, v.Text)
	}
	fmt.Println(strings.Join(values, " "))
	return nil
}

// change stages `set PLACE=VALUE`, `add_list PLACE=VALUE` and `delete PLACE`.
func change(verb, argument string) error {
	where, value, _ := strings.Cut(argument, "=")
	p, err := parsePlace(where)
	if err != nil {
		return err
	}
	file, err := load(p.pkg)
	if err != nil {
		return err
	}
	s := p.find(file)
	switch {
	case verb == "set" && p.option == "" && s == nil:
		file.Sections = append(file.Sections, &uci.Section{Type: value, Name: p.section})
	case s == nil || p.option == "":
		return errors.New("Invalid argument")
	default:
		changeOption(s, verb, p.option, value)
	}
	if err := os.MkdirAll(stagedDir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(stagedDir, p.pkg), []byte(file.String()), 0o600)
}

func changeOption(s *uci.Section, verb, name, value string) {
	old := s.Option(name)
	if old == nil {
		old = &uci.Option{Name: name}
		s.Options = append(s.Options, old)
	}
	switch verb {
	case "set":
		old.List, old.Values = false, []uci.Value{{Text: value}}
	case "add_list":
		old.List, old.Values = true, append(old.Values, uci.Value{Text: value})
	case "delete":
		for i, o := range s.Options {
			if o == old {
				s.Options = append(s.Options[:i], s.Options[i+1:]...)
				return
			}
		}
	}
}

// commit writes what is staged by another file of the same name and mode, as
// libuci does; comments are lost by it, and nothing is written where nothing is
// staged.
func commit(pkg string) error {
	staged, err := filepath.Glob(filepath.Join(stagedDir, "*"))
	if err != nil {
		return err
	}
	for _, from := range staged {
		name := filepath.Base(from)
		if pkg != "" && pkg != name {
			continue
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		to := filepath.Join(configDir, name)
		info, err := os.Stat(to)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to+".uci", text, info.Mode()); err != nil {
			return err
		}
		if err := os.Rename(to+".uci", to); err != nil {
			return err
		}
		if err := os.Remove(from); err != nil {
			return err
		}
	}
	return nil
}
