package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/package/payload"
)

// Where things lie, from the root of the module.
const (
	feedDir  = "package/openwrt"
	binaries = "bin"
	onRouter = "/usr/bin/fairlead"
)

// variants are the packages that there are; each has its own binary, and only
// one of them can be installed.
func variants() []string { return []string{"fairlead", "fairlead-tiny"} }

// binary is where the binary of a variant lies after `make cross`.
func binary(variant string, b build) string {
	return filepath.Join(binaries, variant+"-linux-"+b.name)
}

// assemble puts a package together, apart from its architecture.
func assemble(variant string, b build, f feed) (payload.Package, error) {
	info, err := f.info(variant)
	if err != nil {
		return payload.Package{}, err
	}
	built, err := epoch()
	if err != nil {
		return payload.Package{}, err
	}
	files, err := payload.Read(filepath.Join(feedDir, "files"))
	if err != nil {
		return payload.Package{}, err
	}
	program, err := os.ReadFile(binary(variant, b))
	if err != nil {
		return payload.Package{}, fmt.Errorf("reading what `make cross` builds: %w", err)
	}
	files = append(files, payload.File{Path: onRouter, Mode: payload.Mode(onRouter), Data: program})
	payload.Sort(files)
	scripts, err := readScripts()
	if err != nil {
		return payload.Package{}, err
	}
	return payload.Package{Info: info, Built: built, Files: files, Conffiles: f.conffiles(), Scripts: scripts}, nil
}

// epoch is the time that everything in a package bears, the commit's: see
// https://reproducible-builds.org/specs/source-date-epoch.
func epoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: it must be seconds since 1970; the Makefile sets it to the commit's time", text)
	}
	return time.Unix(seconds, 0), nil
}

// readScripts reads the parts of maintainer scripts that are our own.
func readScripts() (map[string]string, error) {
	scripts := make(map[string]string)
	for _, name := range []string{"preinst", "postinst-pkg", "prerm-pkg", "postrm"} {
		text, err := os.ReadFile(filepath.Join(feedDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading a script of the package: %w", err)
		}
		scripts[name] = string(text)
	}
	return scripts, nil
}
