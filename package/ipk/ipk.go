// Package ipk writes the packages of opkg, OpenWrt's package manager up to
// 24.10, as the script ipkg-build of OpenWrt does: the same input gives the same
// bytes on every machine.
package ipk

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/fairlead/fairlead/package/payload"
)

// The scripts that every package of OpenWrt has, from include/package-pack.mk.
// They run what is beside them as postinst-pkg and prerm-pkg.
const (
	postinst = `#!/bin/sh
[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
default_postinst $0 $@
`
	prerm = `#!/bin/sh
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
default_prerm $0 $@
`
)

// Data is the part of a package that is the same for each architecture that one
// binary serves: its files, compressed.
type Data struct {
	Installed int // bytes of the archive before it was compressed, as opkg counts them
	packed    []byte
}

// Name is the name of a package's file.
func Name(p payload.Package) string {
	return fmt.Sprintf("%s_%s_%s.ipk", p.Name, p.Version, p.Arch)
}

// Pack compresses the files of a package.
func Pack(p payload.Package) (Data, error) {
	a, err := files(p)
	if err != nil {
		return Data{}, err
	}
	return a.pack()
}

// Installed is Data.Installed, without compressing anything.
func Installed(p payload.Package) (int, error) {
	a, err := files(p)
	if err != nil {
		return 0, err
	}
	plain, err := a.bytes()
	return len(plain), err
}

func files(p payload.Package) (archive, error) {
	a := archive{mtime: p.Built}
	if err := a.addTree(p.Files); err != nil {
		return archive{}, fmt.Errorf("packing the files of %s: %w", p.Name, err)
	}
	return a, nil
}

// Write writes a package whose files are packed already. The outer file is a
// compressed archive, too, and not one of ar.
func Write(w io.Writer, p payload.Package, data Data) error {
	if err := p.Check(); err != nil {
		return err
	}
	control, err := packControl(p, data.Installed)
	if err != nil {
		return fmt.Errorf("writing %s: %w", Name(p), err)
	}
	outer := archive{mtime: p.Built}
	for _, part := range []struct {
		name string
		data []byte
	}{{"./debian-binary", []byte("2.0\n")}, {"./data.tar.gz", data.packed}, {"./control.tar.gz", control.packed}} {
		if err := outer.add(part.name, regular, 0o644, part.data, ""); err != nil {
			return err
		}
	}
	whole, err := outer.pack()
	if err == nil {
		_, err = w.Write(whole.packed)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", Name(p), err)
	}
	return nil
}

// addTree adds files and the directories that they lie in, as a walk through the
// tree meets them.
func (a *archive) addTree(files []payload.File) error {
	known := make(map[string]bool)
	for _, f := range files {
		if err := a.addDirectories(path.Dir(f.Path), known); err != nil {
			return err
		}
		kind, mode := byte(regular), f.Mode
		if f.Target != "" {
			kind, mode = symlink, 0o777
		}
		if err := a.add("."+f.Path, kind, mode, f.Data, f.Target); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) addDirectories(dir string, known map[string]bool) error {
	if known[dir] {
		return nil
	}
	if dir != "/" {
		if err := a.addDirectories(path.Dir(dir), known); err != nil {
			return err
		}
	}
	known[dir] = true
	return a.add("."+strings.TrimSuffix(dir, "/")+"/", directory, 0o755, nil, "")
}

// packControl packs what opkg reads of a package: its description and scripts.
func packControl(p payload.Package, installed int) (Data, error) {
	files := []payload.File{
		{Path: "/control", Mode: 0o644, Data: control(p, installed)},
		{Path: "/postinst", Mode: 0o755, Data: []byte(postinst)},
		{Path: "/prerm", Mode: 0o755, Data: []byte(prerm)},
	}
	if len(p.Conffiles) > 0 {
		list := strings.Join(p.Conffiles, "\n") + "\n"
		files = append(files, payload.File{Path: "/conffiles", Mode: 0o644, Data: []byte(list)})
	}
	for name, text := range p.Scripts {
		files = append(files, payload.File{Path: "/" + name, Mode: 0o755, Data: []byte(text)})
	}
	payload.Sort(files)
	a := archive{mtime: p.Built}
	if err := a.addTree(files); err != nil {
		return Data{}, err
	}
	return a.pack()
}

// control is the description of a package, its fields in the order of
// include/package-pack.mk.
func control(p payload.Package, installed int) []byte {
	var b bytes.Buffer
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	field("Package", p.Name)
	field("Version", p.Version)
	field("Depends", strings.Join(p.Depends, ", "))
	field("Conflicts", strings.Join(p.Conflicts, ", "))
	field("Provides", strings.Join(p.Provides, ", "))
	field("Source", p.Source)
	field("SourceName", p.SourceName)
	field("License", p.License)
	field("LicenseFiles", p.LicenseFiles)
	field("Section", p.Section)
	field("Require-User", p.RequireUser)
	field("SourceDateEpoch", fmt.Sprint(p.Built.Unix()))
	field("URL", p.URL)
	field("Maintainer", p.Maintainer)
	field("Architecture", p.Arch)
	field("Installed-Size", fmt.Sprint(installed))
	field("Description", " "+strings.Join(p.Description, "\n "))
	return b.Bytes()
}

// pack ends an archive and compresses it with the program that ipkg-build calls.
// Go's own compression is as good for opkg, but 1.5 % longer.
func (a *archive) pack() (Data, error) {
	plain, err := a.bytes()
	if err != nil {
		return Data{}, err
	}
	gzip := exec.Command("gzip", "-n", "-9")         // -n: neither name nor time
	gzip.Env = []string{"PATH=" + os.Getenv("PATH")} // GZIP could have options
	gzip.Stdin = bytes.NewReader(plain)
	packed, err := gzip.Output()
	if err != nil {
		return Data{}, fmt.Errorf("running gzip: %w", err)
	}
	return Data{len(plain), packed}, nil
}
