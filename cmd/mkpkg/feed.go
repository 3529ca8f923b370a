package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/fairlead/fairlead/package/payload"
)

// feed is the Makefile by which OpenWrt builds fairlead, as far as it can be
// read without make: variables, and blocks from `define` to `endef`.
type feed struct {
	vars   map[string]string
	blocks map[string][]string
}

func readFeed(file string) (feed, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return feed{}, fmt.Errorf("reading the description of the packages: %w", err)
	}
	return parseFeed(string(text)), nil
}

func parseFeed(text string) feed {
	f := feed{make(map[string]string), make(map[string][]string)}
	block := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, isDefine := strings.CutPrefix(line, "define ")
		switch {
		case isDefine:
			block = name
		case line == "endef":
			block = ""
		case block != "":
			f.blocks[block] = append(f.blocks[block], line)
		default:
			if name, value, ok := strings.Cut(line, ":="); ok {
				f.vars[name] = value
			}
		}
	}
	return f
}

// version is that of the packages, with the release.
func (f feed) version() string { return f.vars["PKG_VERSION"] + "-r" + f.vars["PKG_RELEASE"] }

// field is a variable of a package, else of what all of them have in common.
func (f feed) field(name, field string) string {
	for _, block := range []string{"Package/" + name, "Package/fairlead/Default"} {
		for _, line := range f.blocks[block] {
			if value, ok := strings.CutPrefix(line, field+":="); ok {
				return value
			}
		}
	}
	return ""
}

// info is what a package says of itself.
func (f feed) info(name string) (payload.Info, error) {
	i := payload.Info{
		Name: name, Version: f.version(),
		Provides: strings.Fields(f.field(name, "PROVIDES")), Conflicts: strings.Fields(f.field(name, "CONFLICTS")),
		Source: f.field(name, "URL"), SourceName: f.vars["PKG_NAME"], URL: f.field(name, "URL"),
		License: f.vars["PKG_LICENSE"], LicenseFiles: f.vars["PKG_LICENSE_FILES"],
		Section: f.field(name, "SECTION"), Maintainer: f.vars["PKG_MAINTAINER"],
		RequireUser: f.field(name, "USERID"),
		Description: f.blocks["Package/"+name+"/description"],
	}
	for _, word := range strings.Fields(f.field(name, "DEPENDS")) {
		// What is not marked so is a condition of the build, not of the package.
		if need, ok := strings.CutPrefix(word, "+"); ok {
			i.Depends = append(i.Depends, need)
		}
	}
	var errs []error
	for what, value := range map[string]string{
		"PKG_VERSION": f.vars["PKG_VERSION"], "PKG_RELEASE": f.vars["PKG_RELEASE"],
		"description": strings.Join(i.Description, ""), "DEPENDS": strings.Join(i.Depends, " "),
	} {
		if value == "" || strings.Contains(value, "$(") {
			errs = append(errs, fmt.Errorf("%s of %s is %q in the feed's Makefile: it must stand there in plain words", what, name, value))
		}
	}
	return i, errors.Join(errs...)
}

// conffiles are the files that are the user's.
func (f feed) conffiles() []string { return f.blocks["Package/fairlead/conffiles"] }
