package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// referees are Debian's packages of the programs by which tests read back what
// the kernel holds.
func referees() []string { return []string{"nftables", "iproute2"} }

// programs are what of them goes into a machine.
func programs() []string { return []string{"usr/sbin/nft", "bin/ip"} }

// debian is a directory with Debian's packages of another architecture, and what
// was in them.
type debian struct {
	dir  string
	arch string
}

// fetched is the tree with the machine's kernel and the referees, downloaded
// once. Everything lies in the cache, nothing of this system is changed.
func fetched(ctx context.Context, cache string, m machine) (root string, err error) {
	d := debian{filepath.Join(cache, m.name), m.name}
	root, complete := filepath.Join(d.dir, "root"), filepath.Join(d.dir, "complete")
	if _, err := os.Stat(complete); err == nil {
		return root, nil
	}
	if err := errors.Join(d.prepare(), d.update(ctx)); err != nil {
		return "", fmt.Errorf("preparing packages for %s in %s: %w", m.name, d.dir, err)
	}
	kernel, err := d.newest(ctx, m.kernel)
	if err != nil {
		return "", err
	}
	// What a kernel depends on makes an initramfs of its own; we bring ours.
	if err := d.apt(ctx, "download", kernel); err != nil {
		return "", fmt.Errorf("downloading the kernel %s: %w", kernel, err)
	}
	if err := d.apt(ctx, append([]string{"install", "--download-only", "--no-install-recommends", "-y"}, referees()...)...); err != nil {
		return "", fmt.Errorf("downloading %v for %s: %w", referees(), m.name, err)
	}
	if err := d.unpack(ctx, root); err != nil {
		return "", err
	}
	return root, os.WriteFile(complete, nil, 0o644)
}

func (d debian) prepare() error {
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	for _, sub := range []string{"lists/partial", "archives/partial", "root"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(d.dir, "status"), nil, 0o644) // nothing is installed
}

func (d debian) update(ctx context.Context) error { return d.apt(ctx, "update") }

// newest is the package that another one depends on to be the newest.
func (d debian) newest(ctx context.Context, meta string) (string, error) {
	out, err := d.command(ctx, "apt-cache", "depends", "--important", meta).Output()
	for line := range strings.Lines(string(out)) {
		if kind, name, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.HasSuffix(kind, "Depends") && strings.HasPrefix(name, "linux-image-") {
			return name, nil
		}
	}
	return "", fmt.Errorf("looking up %s for %s: apt-cache names no kernel (%v)", meta, d.arch, err)
}

func (d debian) unpack(ctx context.Context, root string) error {
	packages, err := filepath.Glob(filepath.Join(d.dir, "archives", "*.deb"))
	if err != nil {
		return err
	}
	for _, p := range packages {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", p, root).CombinedOutput(); err != nil {
			return fmt.Errorf("unpacking %s: %w: %s", p, err, out)
		}
	}
	return nil
}

func (d debian) apt(ctx context.Context, args ...string) error {
	cmd := d.command(ctx, "apt-get", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// command is one of apt's that takes this system's sources, and nothing else of
// this system.
func (d debian) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	options := []string{
		"-q",
		"-oAPT::Architecture=" + d.arch,
		"-oAPT::Architectures=" + d.arch,
		"-oDir::State::lists=" + filepath.Join(d.dir, "lists"),
		"-oDir::State::status=" + filepath.Join(d.dir, "status"),
		"-oDir::Cache::archives=" + filepath.Join(d.dir, "archives"),
		"-oDir::Cache::pkgcache=",
		"-oDir::Cache::srcpkgcache=",
		"-oAcquire::Languages=none",
		"-oAcquire::Retries=3",
		"-oAPT::Sandbox::User=root",
		"-oDebug::NoLocking=1",
	}
	cmd := exec.CommandContext(ctx, name, append(options, args...)...)
	cmd.Dir = filepath.Join(d.dir, "archives")
	return cmd
}
