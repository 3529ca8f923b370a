package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/package/payload"
)

// root is the root of the module, from which mkpkg works.
func root(t *testing.T) {
	t.Helper()
	t.Chdir("../..")
}

func readOurFeed(t *testing.T) feed {
	t.Helper()
	f, err := readFeed(filepath.Join(feedDir, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestThePackagesNeedNothingButThreeModulesAndTheRoots(t *testing.T) {
	root(t)
	f := readOurFeed(t)
	for _, name := range variants() {
		info, err := f.info(name)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"kmod-nft-tproxy", "kmod-nft-socket", "kmod-nf-conntrack-netlink", "ca-bundle"}
		if !slices.Equal(info.Depends, want) {
			t.Errorf("%s depends on %v, want %v and nothing more", name, info.Depends, want)
		}
	}
}

func TestTheTinyPackageTakesThePlaceOfTheWholeOne(t *testing.T) {
	root(t)
	info, err := readOurFeed(t).info("fairlead-tiny")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"fairlead"}; !slices.Equal(info.Provides, want) || !slices.Equal(info.Conflicts, want) {
		t.Errorf("it provides %v and conflicts with %v, want %v for both", info.Provides, info.Conflicts, want)
	}
}

func TestAFeedThatOnlyMakeCouldReadIsRefused(t *testing.T) {
	f := parseFeed("PKG_VERSION:=$(shell date)\nPKG_RELEASE:=1\ndefine Package/fairlead/description\n  Text.\nendef\n")
	_, err := f.info("fairlead")
	if err == nil || !strings.Contains(err.Error(), `PKG_VERSION of fairlead is "$(shell date)"`) || !strings.Contains(err.Error(), `DEPENDS of fairlead is ""`) {
		t.Errorf("reading it = %v, want both the version and the missing dependencies named", err)
	}
}

// stubs are as much of OpenWrt's build system as a package's Makefile touches.
func stubs() map[string]string {
	return map[string]string{
		"rules.mk": `INCLUDE_DIR := $(TOPDIR)/include
comma := ,
CP := cp -fpR
INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
`,
		"include/package.mk": `define BuildPackage
$(1): export POSTINST = $$(Package/$(1)/postinst)
$(1): export POSTRM = $$(Package/$(1)/postrm)
$(1):
	@echo version=$$(PKG_VERSION)-r$$(PKG_RELEASE) tags=$$(GO_PKG_TAGS) conffiles=$$(Package/$(1)/conffiles)
	$$(call Package/$(1)/install,$$(DEST))
	@printf '%s\n' "$$$$POSTINST" >$$(DEST).postinst-pkg
	@printf '%s\n' "$$$$POSTRM" >$$(DEST).postrm
endef
`,
		"feeds/packages/lang/golang/golang-package.mk": "GoBinPackage =\n",
		"bin/fairlead": "a program",
	}
}

// buildFeed has make install a package as OpenWrt's build system would, and
// gives what it said.
func buildFeed(t *testing.T, name, variant string) (dest, said string) {
	t.Helper()
	top := t.TempDir()
	for file, text := range stubs() {
		file = filepath.Join(top, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	dest = filepath.Join(top, "root")
	out, err := exec.Command("make", "--no-print-directory", "-C", feedDir, name, "TOPDIR="+top, "DEST="+dest, "GO_PKG_BUILD_BIN_DIR="+top+"/bin", "BUILD_VARIANT="+variant).CombinedOutput()
	if err != nil {
		t.Fatalf("make in the feed: %v\n%s", err, out)
	}
	return dest, string(out)
}

// tree lists the files below a directory with their modes.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		found[strings.TrimPrefix(name, dir)] = fmt.Sprintf("%o", info.Mode().Perm())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheFeedInstallsWhatMkpkgPacks(t *testing.T) {
	root(t)
	files, err := payload.Read(filepath.Join(feedDir, "files"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{onRouter: "755"}
	for _, f := range files {
		want[f.Path] = fmt.Sprintf("%o", f.Mode)
	}
	f := readOurFeed(t)
	for variant, name := range map[string]string{"full": "fairlead", "tiny": "fairlead-tiny"} {
		dest, said := buildFeed(t, name, variant)
		if got := tree(t, dest); !maps.Equal(got, want) {
			t.Errorf("%s installs\n%v\nwant\n%v", name, got, want)
		}
		tags := map[string]string{"full": "tags=router ", "tiny": "tags=router,tiny "}[variant]
		for _, part := range []string{"version=" + f.version(), tags, "conffiles=" + strings.Join(f.conffiles(), " ")} {
			if !strings.Contains(said, part) {
				t.Errorf("%s says\n%s\nwant %q in it", name, said, part)
			}
		}
		scripts, err := readScripts()
		if err != nil {
			t.Fatal(err)
		}
		for script, want := range scripts {
			if got := readFile(t, dest+"."+script); got != want {
				t.Errorf("the script %s of %s is\n%s\nwant\n%s", script, name, got, want)
			}
		}
	}
}

func TestAnUpgradeOfTheSystemKeepsTheUsersRuleSets(t *testing.T) {
	root(t)
	if got, want := readFile(t, filepath.Join(feedDir, "files/lib/upgrade/keep.d/fairlead")), "/etc/fairlead/\n"; got != want {
		t.Errorf("sysupgrade keeps %q beside /etc/config, want %q", got, want)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
