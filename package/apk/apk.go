// Package apk prepares the packages of apk, OpenWrt's package manager from 25.12
// on: the tree of files and scripts that the program `apk mkpkg` makes a package
// of, and its command line. The format itself is that program's own.
package apk

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/package/payload"
)

// Name is the name of a package's file. It does not tell the architecture.
func Name(p payload.Package) string { return p.Name + "-" + p.Version + ".apk" }

// Stage writes below a directory what apk makes a package of, in place of what
// is there: the files in root, the scripts beside it. The architecture shows in
// none of them.
func Stage(dir string, p payload.Package) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("staging %s: %w", Name(p), err)
	}
	for _, f := range append(files(p), scripts(p)...) {
		if err := write(filepath.Join(dir, f.Path), f); err != nil {
			return fmt.Errorf("staging %s: %w", Name(p), err)
		}
	}
	return settle(dir, p)
}

// Command is what makes a package of a staged tree. It must run as root or below
// fakeroot, since apk notes whose the files are.
func Command(dir, output string, p payload.Package) []string {
	args := []string{"apk", "mkpkg"}
	info := func(name, value string) {
		if value != "" {
			args = append(args, "--info", name+":"+value)
		}
	}
	info("name", p.Name)
	info("version", p.Version)
	info("description", strings.Join(p.Description, " "))
	info("arch", p.Arch)
	info("license", p.License)
	info("origin", p.Source)
	info("url", p.URL)
	info("maintainer", p.Maintainer)
	info("provides", provides(p))
	for _, s := range scripts(p) {
		name := strings.TrimPrefix(s.Path, "/")
		args = append(args, "--script", name+":"+filepath.Join(dir, name))
	}
	info("depends", strings.Join(p.Depends, " "))
	return append(args, "--files", filepath.Join(dir, "root"), "--output", output)
}

// provides gives what is provided a version: so only one package of the name can
// be installed, and nothing has to say that they are in conflict.
func provides(p payload.Package) string {
	var all []string
	for _, name := range p.Provides {
		all = append(all, name+"="+p.Version)
	}
	return strings.Join(all, " ")
}

// files are the package's own and those by which OpenWrt's scripts know them.
func files(p payload.Package) []payload.File {
	all := slices.Clone(p.Files)
	add := func(suffix, text string) {
		name := "/lib/apk/packages/" + p.Name + suffix
		all = append(all, payload.File{Path: name, Mode: 0o644, Data: []byte(text)})
	}
	if p.RequireUser != "" {
		add(".rusers", p.RequireUser+"\n")
	}
	var list []string
	for _, f := range all {
		list = append(list, f.Path+"\n")
	}
	slices.Sort(list)
	add(".list", strings.Join(list, ""))
	if len(p.Conffiles) > 0 {
		add(".conffiles", strings.Join(p.Conffiles, "\n")+"\n")
		add(".conffiles_static", sums(p))
	}
	for i := range all {
		all[i].Path = "/root" + all[i].Path
	}
	return all
}

// sums are the configuration files as they came, to tell those that were changed.
func sums(p payload.Package) string {
	var text strings.Builder
	for _, f := range p.Files {
		if slices.Contains(p.Conffiles, f.Path) {
			fmt.Fprintf(&text, "%s %x\n", f.Path, sha256.Sum256(f.Data))
		}
	}
	return text.String()
}

func write(name string, f payload.File) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if f.Target != "" {
		return os.Symlink(f.Target, name)
	}
	if err := os.WriteFile(name, f.Data, f.Mode); err != nil {
		return err
	}
	return os.Chmod(name, f.Mode) // a umask must not show
}

// settle gives directories their mode and everything its time.
func settle(dir string, p payload.Package) error {
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.Type()&fs.ModeSymlink != 0:
			return nil
		case entry.IsDir():
			if err := os.Chmod(name, 0o755); err != nil {
				return err
			}
		}
		return os.Chtimes(name, p.Built, p.Built)
	})
}
