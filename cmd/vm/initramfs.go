package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// initramfs writes the archive that becomes a kernel's first file system: cpio
// in the form newc (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
type initramfs struct {
	w    io.Writer
	err  error // the first; all that follows does nothing
	ino  int
	dirs map[string]bool // that are in it
}

func newInitramfs(w io.Writer) *initramfs {
	return &initramfs{w: w, dirs: map[string]bool{".": true, "/": true}}
}

// Kinds of files (inode(7)).
const (
	kindFile      = 0o100000
	kindDirectory = 0o040000
	kindDevice    = 0o020000
)

// add writes a file with a program's rights, and the directories above it.
func (a *initramfs) add(name string, content []byte) {
	a.above(name)
	a.entry(name, kindFile|0o755, content, 0, 0)
}

// device writes a character device.
func (a *initramfs) device(name string, major, minor int) {
	a.above(name)
	a.entry(name, kindDevice|0o600, nil, major, minor)
}

// copy writes a file of this machine, or a directory with all below.
func (a *initramfs) copy(name, from string) {
	err := filepath.WalkDir(from, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(at)
		below, _ := filepath.Rel(from, at)
		a.add(path.Join(name, below), content)
		return err
	})
	if err != nil && a.err == nil {
		a.err = err
	}
}

// close ends the archive.
func (a *initramfs) close() error {
	a.entry("TRAILER!!!", 0, nil, 0, 0)
	return a.err
}

func (a *initramfs) above(name string) {
	dir := path.Dir(path.Clean(name))
	if a.dirs[dir] {
		return
	}
	a.above(dir)
	a.dirs[dir] = true
	a.entry(dir, kindDirectory|0o755, nil, 0, 0)
}

func (a *initramfs) entry(name string, mode int, content []byte, major, minor int) {
	for len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	a.ino++
	header := "070701"
	for _, field := range []int{a.ino, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name) + 1, 0} {
		header += fmt.Sprintf("%08X", field)
	}
	a.padded([]byte(header + name + "\x00"))
	a.padded(content)
}

// padded writes up to the next multiple of four bytes.
func (a *initramfs) padded(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
	if pad := -len(b) & 3; a.err == nil && pad > 0 {
		_, a.err = a.w.Write(make([]byte, pad))
	}
}
