package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "6") // each waits more than it works
	code := nstest.Main(m)
	if dir := built.dir; dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// patience bounds what a test waits for. Nothing should take this long.
const patience = 20 * time.Second

// programs are what the routers of these tests are made of.
type programs struct {
	dir       string // of fairlead, rootlab and the packages
	now, next release
	busybox   string
	dnsmasq   string
	libraries []string // of dnsmasq
}

// release is a version of our package.
type release struct {
	version string
	ipk     string
	tree    string // what `make apk` lays out
}

// built is made once, by the first test that needs it.
var built struct {
	once sync.Once
	programs
	err error
}

func tools(t *testing.T) programs {
	t.Helper()
	needs(t, "busybox", "busybox-static")
	needs(t, "dnsmasq", "dnsmasq-base")
	built.once.Do(func() { built.programs, built.err = buildTools() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.programs
}

// buildTools builds fairlead and its package as `make ipk` does, and the
// stand-ins.
func buildTools() (p programs, err error) {
	if p.busybox, err = find("busybox"); err != nil {
		return p, err
	}
	if p.dnsmasq, err = find("dnsmasq"); err != nil {
		return p, err
	}
	if p.dir, err = os.MkdirTemp("", "rootlab"); err != nil {
		return p, err
	}
	if p.libraries, err = librariesOf(p.dnsmasq); err != nil {
		return p, err
	}
	module, err := filepath.Abs("../../..")
	if err != nil {
		return p, err
	}
	bin := filepath.Join(p.dir, "bin")
	if err := run(module, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin+"/", "./cmd/mkpkg", "./package/openwrt/rootlab"); err != nil {
		return p, err
	}
	if p.now, err = p.release(module, "0.1.0"); err == nil {
		p.next, err = p.release(module, "0.2.0")
	}
	return p, err
}

// release makes the packages of a version, in a directory of its own from which
// mkpkg reads what it packs.
func (p programs) release(module, version string) (release, error) {
	r := release{version: version + "-test"}
	dir := filepath.Join(p.dir, version)
	bin := filepath.Join(dir, "bin")
	if err := run(module, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+r.version, "-o", bin+"/fairlead-linux-amd64", "./cmd/fairlead"); err != nil {
		return r, err
	}
	if err := os.WriteFile(filepath.Join(bin, "fairlead-tiny-linux-amd64"), []byte("not installed here"), 0o755); err != nil {
		return r, err
	}
	if err := os.CopyFS(filepath.Join(dir, "package/openwrt"), os.DirFS(filepath.Join(module, "package/openwrt"))); err != nil {
		return r, err
	}
	feed := filepath.Join(dir, "package/openwrt/Makefile")
	text, err := os.ReadFile(feed)
	if err != nil {
		return r, err
	}
	if err := os.WriteFile(feed, regexp.MustCompile(`(?m)^PKG_VERSION:=.*$`).ReplaceAll(text, []byte("PKG_VERSION:="+version)), 0o644); err != nil {
		return r, err
	}
	for _, kind := range []string{"ipk", "apk"} {
		if err := run(dir, filepath.Join(p.dir, "bin/mkpkg"), kind, "x86_64"); err != nil {
			return r, err
		}
	}
	r.ipk = filepath.Join(bin, "ipk/fairlead_"+version+"-r1_x86_64.ipk")
	r.tree = filepath.Join(bin, "apk/amd64/fairlead")
	return r, nil
}

// librariesOf are the files that a program is loaded with, by ldd(1).
func librariesOf(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("asking for the libraries of %s: %w", program, err)
	}
	return regexp.MustCompile(`/\S+`).FindAllString(string(out), -1), nil
}

// needs skips a test whose router has nothing to be made of. CI has to have it.
func needs(t *testing.T, program, pkg string) {
	t.Helper()
	_, err := find(program)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("CI has to have the program %s, of Debian's package %s: %v", program, pkg, err)
	default:
		t.Skipf("NOT TESTED: the program %s, of which the router is made, is not installed (Debian: apt install %s)", program, pkg)
	}
}

func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	path := "/usr/sbin/" + program // where Debian has it, and ordinary users do not look
	_, err := os.Stat(path)
	return path, err
}

func run(dir, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

// until waits for something that tells nobody when it comes.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
