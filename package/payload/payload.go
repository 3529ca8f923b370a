// Package payload says what a package is made of, whatever its format: its
// description, the files that it puts on a router, and its maintainer scripts.
package payload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Package is one package for one architecture.
type Package struct {
	Info
	Arch      string            // as OpenWrt calls it: mipsel_24kc
	Built     time.Time         // of every file in it: SOURCE_DATE_EPOCH
	Files     []File            // in the order of Sort
	Conffiles []string          // paths on the router that belong to the user
	Scripts   map[string]string // preinst, postinst-pkg, prerm-pkg, postrm: what OpenWrt's own scripts do not do
}

// Info is what a package says of itself.
type Info struct {
	Name, Version                string // version with release: 0.1.0-r1
	Depends, Provides, Conflicts []string
	Source, SourceName, URL      string // SourceName: of the sources, which several packages can have in common
	License, LicenseFiles        string
	Section, Maintainer          string
	RequireUser                  string   // name=id:group=id; empty: no user of its own
	Description                  []string // lines
}

// File is one file or symbolic link of a package. Directories follow from the
// paths.
type File struct {
	Path   string // on the router, from the root: /usr/bin/fairlead
	Mode   fs.FileMode
	Data   []byte
	Target string // of a symbolic link, which has no Data
}

// maxFile is more than any file of a package can sensibly have.
const maxFile = 64 << 20

// Read reads the tree of files below a directory. Modes are those that [Mode]
// gives: what a checkout's umask made of them does not matter.
func Read(dir string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f, err := readFile(name, "/"+filepath.ToSlash(rel), entry)
		files = append(files, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the files of a package: %w", err)
	}
	Sort(files)
	return files, nil
}

func readFile(name, to string, entry fs.DirEntry) (File, error) {
	f := File{Path: to, Mode: Mode(to)}
	switch {
	case entry.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(name)
		f.Target = target
		return f, err
	case !entry.Type().IsRegular():
		return File{}, fmt.Errorf("%s is neither a file nor a symbolic link", name)
	}
	info, err := entry.Info()
	if err != nil {
		return File{}, err
	}
	if info.Size() > maxFile {
		return File{}, fmt.Errorf("%s has %d bytes, and a file of a package at most %d", name, info.Size(), maxFile)
	}
	f.Data, err = os.ReadFile(name)
	return f, err
}

// Mode is the mode of a file by where it lies: programs and scripts that are
// run can be executed, configuration is root's alone since it holds passwords.
// It is what OpenWrt's INSTALL_BIN, INSTALL_CONF and INSTALL_DATA give.
func Mode(file string) fs.FileMode {
	switch dir := path.Dir(file); {
	case dir == "/etc/config":
		return 0o600
	case slices.Contains([]string{"/usr/bin", "/usr/sbin", "/etc/init.d", "/usr/libexec/rpcd", "/etc/uci-defaults"}, dir),
		strings.HasPrefix(dir, "/etc/hotplug.d/"):
		return 0o755
	}
	return 0o644
}

// Sort puts files in the order in which a walk through their directories meets
// them, names compared byte by byte.
func Sort(files []File) {
	slices.SortFunc(files, func(a, b File) int {
		return slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/"))
	})
}

// Check finds what no router would take: a package without a name, paths that
// are not clean, files that come twice, a file of the user's that is not there.
func (p Package) Check() error {
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("package %s: "+format, append([]any{p.Name}, args...)...))
		}
	}
	refuse(p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "", "a name has small letters, digits and hyphens")
	refuse(p.Version == "", "it has no version")
	refuse(p.Arch == "", "it has no architecture")
	seen := make(map[string]bool, len(p.Files))
	for _, f := range p.Files {
		refuse(!path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path, "%q is not a clean path from the root", f.Path)
		refuse(seen[f.Path], "%s is there twice", f.Path)
		seen[f.Path] = true
	}
	for _, file := range p.Conffiles {
		refuse(!seen[file], "the configuration %s is not among its files", file)
	}
	for name := range p.Scripts {
		refuse(!slices.Contains([]string{"preinst", "postinst-pkg", "prerm-pkg", "postrm"}, name), "OpenWrt knows no script %s", name)
	}
	return errors.Join(errs...)
}
