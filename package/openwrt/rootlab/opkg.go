package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// infoDir is where opkg keeps what it knows of installed packages.
const infoDir = "/usr/lib/opkg/info"

// maxUnpacked bounds a package.
const maxUnpacked = 64 << 20

// opkg installs and removes packages in the order that opkg does, with their own
// maintainer scripts.
func opkg(args []string) error {
	if len(args) == 2 && args[0] == "install" {
		return install(args[1])
	}
	if len(args) == 2 && args[0] == "remove" {
		return uninstall(args[1])
	}
	return fmt.Errorf("this stand-in knows no opkg %q", args)
}

// entry is a file of an archive.
type entry struct {
	header *tar.Header
	data   []byte
}

// unpack reads a compressed archive; names lose what they begin with, `./`.
func unpack(packed []byte) ([]entry, error) {
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	var all []entry
	for r := tar.NewReader(io.LimitReader(plain, maxUnpacked)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		header.Name = path.Clean("/" + header.Name)
		all = append(all, entry{header, data})
	}
}

func member(all []entry, name string) []byte {
	for _, e := range all {
		if e.header.Name == "/"+name {
			return e.data
		}
	}
	return nil
}

func install(file string) error {
	whole, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	parts, err := unpack(whole)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", file, err)
	}
	control, err := unpack(member(parts, "control.tar.gz"))
	if err != nil {
		return fmt.Errorf("unpacking the control files: %w", err)
	}
	data, err := unpack(member(parts, "data.tar.gz"))
	if err != nil {
		return fmt.Errorf("unpacking the data: %w", err)
	}
	name := field(string(member(control, "control")), "Package")
	upgrade := "0"
	if _, err := os.Stat(info(name, "list")); err == nil {
		upgrade = "1"
		if err := script(name, "prerm", upgrade, "upgrade"); err != nil {
			return err
		}
	}
	if err := record(name, control, data); err != nil {
		return err
	}
	if err := unfold(data, conffiles(name)); err != nil {
		return err
	}
	return script(name, "postinst", upgrade, "configure")
}

func info(name, what string) string { return infoDir + "/" + name + "." + what }

// record writes the control files, and the list of what the package has.
func record(name string, control, data []entry) error {
	if err := os.MkdirAll(infoDir, 0o755); err != nil {
		return err
	}
	for _, e := range control {
		if e.header.Typeflag != tar.TypeReg {
			continue
		}
		if err := os.WriteFile(info(name, path.Base(e.header.Name)), e.data, e.header.FileInfo().Mode()); err != nil {
			return err
		}
	}
	var list strings.Builder
	for _, e := range data {
		if e.header.Typeflag != tar.TypeDir {
			fmt.Fprintln(&list, e.header.Name)
		}
	}
	return os.WriteFile(info(name, "list"), []byte(list.String()), 0o644)
}

// unfold puts the files where they belong. A configuration of the user's stays,
// and the package's is put beside it.
func unfold(data []entry, conffiles []string) error {
	for _, e := range data {
		to := e.header.Name
		if e.header.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
			continue
		}
		if e.header.Typeflag != tar.TypeReg || e.header.Uid != 0 || e.header.Gid != 0 {
			return fmt.Errorf("%s: want a file of root's", to)
		}
		if old, err := os.ReadFile(to); err == nil && slices.Contains(conffiles, to) && !bytes.Equal(old, e.data) {
			to += "-opkg"
		}
		os.Remove(to) // a program that runs cannot be written to
		if err := os.WriteFile(to, e.data, e.header.FileInfo().Mode()); err != nil {
			return err
		}
		if err := os.Chmod(to, e.header.FileInfo().Mode()); err != nil {
			return err
		}
	}
	return nil
}

func conffiles(name string) []string {
	text, _ := os.ReadFile(info(name, "conffiles"))
	return strings.Fields(string(text))
}

func field(control, name string) string {
	for line := range strings.Lines(control) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// script runs a maintainer script of a package, if it has it.
func script(name, which, upgrade, why string) error {
	file := info(name, which)
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	cmd := exec.Command(file, why)
	cmd.Env = append(environment(), "PKG_UPGRADE="+upgrade)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w", file, err)
	}
	return nil
}

// uninstall removes everything but configurations that the user changed.
func uninstall(name string) error {
	list, err := os.ReadFile(info(name, "list"))
	if err != nil {
		return fmt.Errorf("%s is not installed", name)
	}
	if err := script(name, "prerm", "0", "remove"); err != nil {
		return err
	}
	kept := conffiles(name)
	for file := range strings.Lines(string(list)) {
		if file = strings.TrimSpace(file); slices.Contains(kept, file) {
			continue
		}
		os.Remove(file) // some have removed themselves
		for dir := path.Dir(file); dir != "/" && os.Remove(dir) == nil; dir = path.Dir(dir) {
		}
	}
	if err := script(name, "postrm", "0", "remove"); err != nil {
		return err
	}
	for _, what := range []string{"list", "control", "conffiles", "prerm", "postinst", "preinst", "prerm-pkg", "postinst-pkg", "postrm"} {
		os.Remove(info(name, what))
	}
	return nil
}
