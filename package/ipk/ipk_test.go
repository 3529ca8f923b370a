package ipk_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/package/ipk"
	"github.com/fairlead/fairlead/package/payload"
)

// example is a package with one of everything.
func example() payload.Package {
	p := payload.Package{
		Info: payload.Info{
			Name: "ferry", Version: "1.2.3-r4", Depends: []string{"kmod-a", "ca-bundle"}, Provides: []string{"boat"}, Conflicts: []string{"boat"},
			Source: "https://ferry.example", SourceName: "ferry", URL: "https://ferry.example", License: "MIT", LicenseFiles: "LICENSE",
			Section: "net", Maintainer: "A Captain", RequireUser: "ferry:ferry", Description: []string{"Carries cars.", "And people."},
		},
		Arch: "mipsel_24kc", Built: time.Unix(1_700_000_000, 0),
		Files: []payload.File{
			{Path: "/usr/bin/ferry", Mode: 0o755, Data: bytes.Repeat([]byte("engine"), 1000)},
			{Path: "/usr/bin/boat", Target: "ferry"},
			{Path: "/etc/config/ferry", Mode: 0o600, Data: []byte("config ferry\n")},
			{Path: "/etc/config.d", Mode: 0o644}, // between config and its files, if paths were compared as a whole
			{Path: "/etc/init.d/ferry", Mode: 0o755, Data: make([]byte, 512)},
		},
		Conffiles: []string{"/etc/config/ferry"},
		Scripts:   map[string]string{"prerm-pkg": "#!/bin/sh\necho bye\n"},
	}
	payload.Sort(p.Files)
	return p
}

func write(t *testing.T, p payload.Package) []byte {
	t.Helper()
	data, err := ipk.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := ipk.Write(&file, p, data); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// entry is one line of an archive's list, and what is in it.
type entry struct {
	line string
	data []byte
}

// unpack reads a compressed archive.
func unpack(t *testing.T, packed []byte) []entry {
	t.Helper()
	var all []entry
	for r := tar.NewReader(bytes.NewReader(gunzip(t, packed))); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("reading an archive: %v", err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry{fmt.Sprintf("%v %d/%d %d %s %s", h.FileInfo().Mode(), h.Uid, h.Gid, h.ModTime.Unix(), h.Name, h.Linkname), data})
	}
}

func gunzip(t *testing.T, packed []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "" || !r.ModTime.IsZero() {
		t.Errorf("a compressed file has the name %q and the time %v in it, want neither", r.Name, r.ModTime)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// part is what an entry of an archive holds.
func part(t *testing.T, all []entry, name string) []byte {
	t.Helper()
	for _, e := range all {
		if strings.HasSuffix(e.line, " "+name+" ") {
			return e.data
		}
	}
	t.Fatalf("the archive has no %s", name)
	return nil
}

func lines(all []entry) []string {
	var text []string
	for _, e := range all {
		text = append(text, e.line)
	}
	return text
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAPackageHoldsWhatOpkgLooksFor(t *testing.T) {
	outer := unpack(t, write(t, example()))
	compare(t, "the package", lines(outer), []string{
		"-rw-r--r-- 0/0 1700000000 ./debian-binary ",
		"-rw-r--r-- 0/0 1700000000 ./data.tar.gz ",
		"-rw-r--r-- 0/0 1700000000 ./control.tar.gz ",
	})
	if got := string(part(t, outer, "./debian-binary")); got != "2.0\n" {
		t.Errorf("debian-binary = %q, want %q", got, "2.0\n")
	}
	compare(t, "its files", lines(unpack(t, part(t, outer, "./data.tar.gz"))), []string{
		"drwxr-xr-x 0/0 1700000000 ./ ",
		"drwxr-xr-x 0/0 1700000000 ./etc/ ",
		"drwxr-xr-x 0/0 1700000000 ./etc/config/ ",
		"-rw------- 0/0 1700000000 ./etc/config/ferry ",
		"-rw-r--r-- 0/0 1700000000 ./etc/config.d ",
		"drwxr-xr-x 0/0 1700000000 ./etc/init.d/ ",
		"-rwxr-xr-x 0/0 1700000000 ./etc/init.d/ferry ",
		"drwxr-xr-x 0/0 1700000000 ./usr/ ",
		"drwxr-xr-x 0/0 1700000000 ./usr/bin/ ",
		"Lrwxrwxrwx 0/0 1700000000 ./usr/bin/boat ferry",
		"-rwxr-xr-x 0/0 1700000000 ./usr/bin/ferry ",
	})
	compare(t, "its description and scripts", lines(unpack(t, part(t, outer, "./control.tar.gz"))), []string{
		"drwxr-xr-x 0/0 1700000000 ./ ",
		"-rw-r--r-- 0/0 1700000000 ./conffiles ",
		"-rw-r--r-- 0/0 1700000000 ./control ",
		"-rwxr-xr-x 0/0 1700000000 ./postinst ",
		"-rwxr-xr-x 0/0 1700000000 ./prerm ",
		"-rwxr-xr-x 0/0 1700000000 ./prerm-pkg ",
	})
}

func TestTheDescriptionIsThatOfOpenWrt(t *testing.T) {
	outer := unpack(t, write(t, example()))
	inner := unpack(t, part(t, outer, "./control.tar.gz"))
	installed := len(gunzip(t, part(t, outer, "./data.tar.gz")))
	want := `Package: ferry
Version: 1.2.3-r4
Depends: kmod-a, ca-bundle
Conflicts: boat
Provides: boat
Source: https://ferry.example
SourceName: ferry
License: MIT
LicenseFiles: LICENSE
Section: net
Require-User: ferry:ferry
SourceDateEpoch: 1700000000
URL: https://ferry.example
Maintainer: A Captain
Architecture: mipsel_24kc
Installed-Size: ` + fmt.Sprint(installed) + `
Description:  Carries cars.
 And people.
`
	if got := string(part(t, inner, "./control")); got != want {
		t.Errorf("control =\n%s\nwant\n%s", got, want)
	}
	if got, want := string(part(t, inner, "./conffiles")), "/etc/config/ferry\n"; got != want {
		t.Errorf("conffiles = %q, want %q", got, want)
	}
	for name, runs := range map[string]string{"./postinst": "default_postinst $0 $@", "./prerm": "default_prerm $0 $@", "./prerm-pkg": "echo bye"} {
		if got := string(part(t, inner, name)); !strings.HasPrefix(got, "#!/bin/sh\n") || !strings.Contains(got, runs) {
			t.Errorf("%s = %q, want a script that runs %q", name, got, runs)
		}
	}
}

// The referees are the programs that ipkg-build calls.
func TestTheFilesAreArchivedByteForByteAsGNUTarDoes(t *testing.T) {
	p := example()
	dir := t.TempDir()
	lay(t, dir, p.Files, 0o755)
	for _, f := range p.Files {
		if f.Target == "" {
			if err := os.Chmod(filepath.Join(dir, f.Path), f.Mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := exec.Command("tar", "--format=gnu", "--numeric-owner", "--owner=0", "--group=0", "--sort=name",
		"--mtime=@1700000000", "-C", dir, "-cf", "-", ".").Output()
	if err != nil {
		t.Fatalf("running tar: %v", err)
	}
	packed := part(t, unpack(t, write(t, p)), "./data.tar.gz")
	if got := gunzip(t, packed); !bytes.Equal(got, want) {
		t.Errorf("the archive of %d bytes is not that of tar, which has %d", len(got), len(want))
	}
	gzip := exec.Command("gzip", "-n", "-9", "-")
	gzip.Stdin = bytes.NewReader(want)
	compressed, err := gzip.Output()
	if err != nil {
		t.Fatalf("running gzip: %v", err)
	}
	if !bytes.Equal(packed, compressed) {
		t.Error("compressed it is not what gzip makes of tar's archive")
	}
}

// lay writes files below a directory, all directories with one mode.
func lay(t *testing.T, dir string, files []payload.File, mode os.FileMode) {
	t.Helper()
	for _, f := range files {
		name := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		write := func() error { return os.WriteFile(name, f.Data, 0o600) }
		if f.Target != "" {
			write = func() error { return os.Symlink(f.Target, name) }
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
		for up := filepath.Dir(name); len(up) >= len(dir); up = filepath.Dir(up) {
			if err := os.Chmod(up, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTwoCheckoutsGiveTheSameBytes(t *testing.T) {
	var made [][]byte
	for i, mode := range []os.FileMode{0o700, 0o755} { // umasks 077 and 022
		dir := t.TempDir()
		lay(t, dir, example().Files, mode)
		program := filepath.Join(dir, "usr/bin/ferry")
		if err := os.Chmod(program, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(program, time.Time{}, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
		p := example()
		var err error
		if p.Files, err = payload.Read(dir); err != nil {
			t.Fatal(err)
		}
		made = append(made, write(t, p))
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("a checkout with another umask and other times gives another package, want the same")
	}
}

func TestAPackageThatNoRouterWouldTakeIsNotWritten(t *testing.T) {
	p := example()
	p.Conffiles = append(p.Conffiles, "/etc/config/boat")
	err := ipk.Write(io.Discard, p, ipk.Data{})
	if err == nil || !strings.Contains(err.Error(), "/etc/config/boat is not among its files") {
		t.Errorf("writing a package without its configuration = %v, want an error that names the file", err)
	}
}

func TestANameThatTheFormatCannotHoldIsRefused(t *testing.T) {
	p := example()
	p.Files = append(p.Files, payload.File{Path: "/" + strings.Repeat("long/", 20) + "name"})
	if _, err := ipk.Pack(p); err == nil || !strings.Contains(err.Error(), "100 bytes") {
		t.Errorf("packing a file with a name of 106 bytes = %v, want an error that says how long it may be", err)
	}
}
