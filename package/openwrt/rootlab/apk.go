package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apkDir is where OpenWrt's packages of apk keep what its scripts know of them.
const apkDir = "/lib/apk/packages"

// apk installs a tree that `make apk` laid out, in the order that apk does: an
// upgrade does not end what runs before its files are replaced.
func apk(args []string) error {
	if len(args) != 2 || args[0] != "add" {
		return fmt.Errorf("this stand-in knows no apk %q", args)
	}
	tree := args[1]
	name := filepath.Base(tree)
	before, after := "pre-install", "post-install"
	if _, err := os.Stat(filepath.Join(apkDir, name+".list")); err == nil {
		before, after = "pre-upgrade", "post-upgrade"
	}
	if err := treeScript(tree, before); err != nil {
		return err
	}
	if err := unfoldTree(filepath.Join(tree, "root"), shipped(name)); err != nil {
		return fmt.Errorf("unpacking %s: %w", tree, err)
	}
	return treeScript(tree, after)
}

func treeScript(tree, which string) error {
	file := filepath.Join(tree, which)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	cmd := exec.Command(file)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w", which, err)
	}
	return nil
}

// shipped are the sums of configuration files as the installed version had them.
func shipped(name string) map[string]string {
	sums := map[string]string{}
	text, _ := os.ReadFile(filepath.Join(apkDir, name+".conffiles_static"))
	for line := range strings.Lines(string(text)) {
		if file, sum, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			sums[file] = sum
		}
	}
	return sums
}

// unfoldTree puts files in the place of those of the same name. A configuration
// that the user changed stays, and the package's is put beside it.
func unfoldTree(root string, sums map[string]string) error {
	return filepath.WalkDir(root, func(from string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := "/" + strings.TrimPrefix(strings.TrimPrefix(from, root), "/")
		if entry.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		old, err := os.ReadFile(to)
		if sum, ours := sums[to]; err == nil && ours && fmt.Sprintf("%x", sha256.Sum256(old)) != sum {
			to += ".apk-new"
		}
		half := filepath.Join(filepath.Dir(to), ".apk."+filepath.Base(to))
		if err := os.WriteFile(half, text, info.Mode()); err != nil {
			return err
		}
		return os.Rename(half, to)
	})
}
