package apk_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/package/apk"
	"github.com/fairlead/fairlead/package/payload"
)

func example() payload.Package {
	return payload.Package{
		Info: payload.Info{
			Name: "ferry", Version: "1.2.3-r4", Depends: []string{"kmod-a", "ca-bundle"}, Provides: []string{"boat"},
			Source: "https://ferry.example", URL: "https://ferry.example", License: "MIT", Maintainer: "A Captain",
			RequireUser: "ferry:ferry", Description: []string{"Carries cars.", "And people."},
		},
		Arch: "mipsel_24kc", Built: time.Unix(1_700_000_000, 0),
		Files: []payload.File{
			{Path: "/etc/config/ferry", Mode: 0o600, Data: []byte("config ferry\n")},
			{Path: "/usr/bin/boat", Target: "ferry"},
			{Path: "/usr/bin/ferry", Mode: 0o755, Data: []byte("engine")},
		},
		Conffiles: []string{"/etc/config/ferry"},
		Scripts:   map[string]string{"postinst-pkg": "#!/bin/sh\necho hello\n", "postrm": "#!/bin/sh\necho bye\n"},
	}
}

func stage(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ferry")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stale"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := apk.Stage(dir, example()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheStagedTreeIsThatOfOpenWrt(t *testing.T) {
	dir := stage(t)
	var got []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.Type()&fs.ModeSymlink == 0 && info.ModTime().Unix() != 1_700_000_000 {
			t.Errorf("%s has the time %v, want that of the package", name, info.ModTime())
		}
		if !entry.IsDir() {
			got = append(got, fmt.Sprintf("%v %s", info.Mode(), strings.TrimPrefix(name, dir)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-rwxr-xr-x /post-deinstall",
		"-rwxr-xr-x /post-install",
		"-rwxr-xr-x /post-upgrade",
		"-rwxr-xr-x /pre-deinstall",
		"-rw------- /root/etc/config/ferry",
		"-rw-r--r-- /root/lib/apk/packages/ferry.conffiles",
		"-rw-r--r-- /root/lib/apk/packages/ferry.conffiles_static",
		"-rw-r--r-- /root/lib/apk/packages/ferry.list",
		"-rw-r--r-- /root/lib/apk/packages/ferry.rusers",
		"Lrwxrwxrwx /root/usr/bin/boat",
		"-rwxr-xr-x /root/usr/bin/ferry",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the tree is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOpenWrtsScriptsFindTheirLists(t *testing.T) {
	lists := filepath.Join(stage(t), "root/lib/apk/packages/ferry")
	for suffix, want := range map[string]string{
		".list":      "/etc/config/ferry\n/lib/apk/packages/ferry.rusers\n/usr/bin/boat\n/usr/bin/ferry\n",
		".rusers":    "ferry:ferry\n",
		".conffiles": "/etc/config/ferry\n",
		// The sum is that of sha256sum.
		".conffiles_static": "/etc/config/ferry 7fe97c5722287fdf4e4cc8cfa31409d533b792b807f700ca12ca3ebf4927d29a\n",
	} {
		if got := read(t, lists+suffix); got != want {
			t.Errorf("the list %s = %q, want %q", suffix, got, want)
		}
	}
}

func TestScriptsEndWithThePackagesOwnParts(t *testing.T) {
	dir := stage(t)
	install := `[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
export root="${IPKG_INSTROOT}"
export pkgname="ferry"
add_group_and_user
default_postinst
echo hello
`
	for name, want := range map[string]string{
		"post-install":   "#!/bin/sh\n" + install,
		"post-upgrade":   "#!/bin/sh\nexport PKG_UPGRADE=1\n" + install,
		"post-deinstall": "#!/bin/sh\necho bye\n",
	} {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s =\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestTheCommandLineSaysAllOfThePackage(t *testing.T) {
	got := apk.Command("staged", "out.apk", example())
	want := []string{
		"apk", "mkpkg", "--info", "name:ferry", "--info", "version:1.2.3-r4", "--info", "description:Carries cars. And people.",
		"--info", "arch:mipsel_24kc", "--info", "license:MIT", "--info", "origin:https://ferry.example", "--info", "url:https://ferry.example",
		"--info", "maintainer:A Captain", "--info", "provides:boat=1.2.3-r4",
		"--script", "post-install:staged/post-install", "--script", "post-upgrade:staged/post-upgrade",
		"--script", "pre-deinstall:staged/pre-deinstall", "--script", "post-deinstall:staged/post-deinstall",
		"--info", "depends:kmod-a ca-bundle", "--files", "staged/root", "--output", "out.apk",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the command line is\n%q\nwant\n%q", got, want)
	}
}
