package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// workshop is a directory with everything that packages are made of, the
// binaries of one build in place of real ones.
func workshop(t *testing.T) {
	t.Helper()
	here, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if err := os.Symlink(filepath.Join(here, "package"), "package"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(binaries, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, v := range variants() {
		if err := os.WriteFile(binary(v, builds()[0]), []byte("the program "+v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPackagesBearNameVersionAndArchitecture(t *testing.T) {
	workshop(t)
	var out bytes.Buffer
	if err := makeIPK(&out, []string{"mipsel_24kc"}); err != nil {
		t.Fatal(err)
	}
	version := readOurFeed(t).version()
	for _, want := range []string{"fairlead_" + version + "_mipsel_24kc.ipk", "fairlead-tiny_" + version + "_mipsel_24kc.ipk"} {
		if _, err := os.Stat(filepath.Join("bin/ipk", want)); err != nil {
			t.Errorf("there is no %s (%v); mkpkg said\n%s", want, err, out.String())
		}
	}
}

func TestThePackageThatWasMadeIsWeighed(t *testing.T) {
	workshop(t)
	if _, _, err := measure([]string{"mipsel_24kc"}); err == nil || !strings.Contains(err.Error(), "make ipk") {
		t.Errorf("weighing a package that is not there = %v, want an error that says how to make it", err)
	}
	var out bytes.Buffer
	if err := makeIPK(&out, []string{"mipsel_24kc"}); err != nil {
		t.Fatal(err)
	}
	names, sizes, err := measure([]string{"mipsel_24kc"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		want := fmt.Sprintf("%9d bytes\n", sizes[name].packed)
		if !strings.Contains(out.String(), want) || sizes[name].installed <= sizes[name].packed {
			t.Errorf("%s weighs %+v, want the package as in\n%sand files that take more", name, sizes[name], out.String())
		}
	}
}

func TestWithoutABinaryItSaysWhatBuildsOne(t *testing.T) {
	workshop(t)
	err := makeIPK(&bytes.Buffer{}, []string{"x86_64"})
	if err == nil || !strings.Contains(err.Error(), "make cross") {
		t.Errorf("packing a binary that is not there = %v, want an error that says how to build it", err)
	}
}

func TestWithoutATimeNothingIsPacked(t *testing.T) {
	workshop(t)
	t.Setenv("SOURCE_DATE_EPOCH", "")
	err := makeIPK(&bytes.Buffer{}, []string{"mipsel_24kc"})
	if err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("packing without a time = %v, want an error that names the variable", err)
	}
}

func TestWithoutApkTheTreeIsThereAndTheCommandLinesAreSaid(t *testing.T) {
	workshop(t)
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	if err := makeAPK(&out, []string{"mipsel_24kc", "mipsel_74kc"}); err != nil {
		t.Fatal(err)
	}
	said := out.String()
	if n := strings.Count(said, " apk mkpkg "); n != 4 {
		t.Errorf("it says %d command lines, want one for each of two variants and architectures:\n%s", n, said)
	}
	for _, want := range []string{"arch:mipsel_74kc", "--output bin/apk/mipsel_74kc/fairlead-", "No package was made", "staging_dir/host/bin/apk"} {
		if !strings.Contains(said, want) {
			t.Errorf("it says\n%s\nwant %q in it", said, want)
		}
	}
	if got, want := readFile(t, "bin/apk/mipsle-softfloat/fairlead/root/usr/bin/fairlead"), "the program fairlead"; got != want {
		t.Errorf("the program in the tree is %q, want %q", got, want)
	}
}

// A program apk of our own shows that what is run is what would be said.
func TestWhereApkIsItMakesThePackage(t *testing.T) {
	workshop(t)
	dir := t.TempDir()
	script := "#!/bin/sh\nfor a; do last=$a; done\necho \"$SOURCE_DATE_EPOCH $*\" >\"$last\"\n"
	for name, text := range map[string]string{"apk": script, "fakeroot": "#!/bin/sh\nexec \"$@\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := makeAPK(&bytes.Buffer{}, []string{"mipsel_24kc"}); err != nil {
		t.Fatal(err)
	}
	made := readFile(t, "bin/apk/mipsel_24kc/fairlead-"+readOurFeed(t).version()+".apk")
	if !strings.HasPrefix(made, "1700000000 mkpkg --info name:fairlead ") {
		t.Errorf("apk was called with %q, want the time of the package and mkpkg's own line", made)
	}
}

func TestAShellReadsAQuotedLineAsItWas(t *testing.T) {
	if got, want := quote([]string{"apk", "a:b c", "every device's", ""}), `apk 'a:b c' 'every device'\''s' ''`; got != want {
		t.Errorf("quoted = %s, want %s", got, want)
	}
}
