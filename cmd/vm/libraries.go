package main

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// withLibraries are programs of another architecture's tree, with all that the
// loader loads with them: the file on this machine by its name on that.
func withLibraries(root string, programs []string) (map[string]string, error) {
	files := map[string]string{}
	var add func(name string) error
	add = func(name string) error {
		if _, known := files[name]; known {
			return nil
		}
		at, err := within(root, name)
		if err != nil {
			return err
		}
		files[name] = at
		needs, err := loads(at)
		if err != nil {
			return fmt.Errorf("reading %s: %w", at, err)
		}
		for _, n := range needs {
			if !filepath.IsAbs(n) {
				if n, err = find(root, n); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			if err := add(n); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range programs {
		if err := add("/" + p); err != nil {
			return nil, fmt.Errorf("collecting %s: %w", p, err)
		}
	}
	return files, nil
}

// within finds a file of the tree. Links that begin at the root begin at the tree's.
func within(root, name string) (string, error) {
	at := filepath.Join(root, name)
	for range 10 {
		target, err := os.Readlink(at)
		if err != nil {
			_, err := os.Stat(at)
			return at, err
		}
		if filepath.IsAbs(target) {
			at = filepath.Join(root, target)
		} else {
			at = filepath.Join(filepath.Dir(at), target)
		}
	}
	return "", fmt.Errorf("%s is a circle of links", name)
}

// loads are the loader of a program, by its path, and the libraries of a program
// or library, by their names.
func loads(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	needs, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			loader := make([]byte, p.Filesz)
			if _, err := p.ReadAt(loader, 0); err != nil {
				return nil, err
			}
			needs = append(needs, strings.TrimRight(string(loader), "\x00"))
		}
	}
	return needs, nil
}

// find is the path of a library in Debian's directories for them.
func find(root, library string) (string, error) {
	for _, dirs := range []string{"lib/*", "usr/lib/*"} {
		found, err := filepath.Glob(filepath.Join(root, dirs, library))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return "/" + strings.TrimPrefix(strings.TrimPrefix(found[0], root), "/"), nil
		}
	}
	return "", fmt.Errorf("the library %s is nowhere in %s", library, root)
}
