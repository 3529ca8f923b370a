package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestNineBuildsServeEveryArchitectureOnce(t *testing.T) {
	if n := len(builds()); n != 9 {
		t.Errorf("there are %d builds, want 9", n)
	}
	all := every()
	if once := slices.Compact(slices.Clone(all)); !slices.Equal(all, once) {
		t.Errorf("the architectures are %v, want none twice", all)
	}
	// Those of OpenWrt 24.10 and 25.12 that a home router has.
	for _, arch := range []string{
		"aarch64_cortex-a53", "aarch64_cortex-a72", "aarch64_cortex-a76", "aarch64_generic", "arm_cortex-a7_neon-vfpv4", "arm_cortex-a15_neon-vfpv4",
		"arm_cortex-a9_vfpv3-d16", "arm_cortex-a9", "arm_arm926ej-s", "arm_arm1176jzf-s_vfp", "mipsel_24kc", "mipsel_74kc", "mips_24kc", "x86_64",
		"i386_pentium4", "riscv64_riscv64", "riscv64_generic",
	} {
		if !slices.Contains(all, arch) {
			t.Errorf("there is no build for %s", arch)
		}
	}
}

func TestGoKnowsEveryBuild(t *testing.T) {
	seen := make(map[string]string)
	for _, b := range builds() {
		list := exec.Command("go", "list", "-f", "{{context.GOARCH}}", "runtime")
		list.Env = append(os.Environ(), append(b.env, "GOOS=linux")...)
		out, err := list.CombinedOutput()
		if err != nil || !slices.Contains(b.env, "GOARCH="+strings.TrimSpace(string(out))) {
			t.Errorf("go list for %s = %q, %v, want it to build for that", b.name, out, err)
		}
		if other := seen[strings.Join(b.env, " ")]; other != "" {
			t.Errorf("%s and %s are the same build", b.name, other)
		}
		seen[strings.Join(b.env, " ")] = b.name
	}
}

func TestThePageOfPackagesHasEveryArchitecture(t *testing.T) {
	root(t)
	page := readFile(t, "docs/packages.md")
	for _, b := range builds() {
		if row := " | " + strings.Join(b.arches, " ") + " |\n"; !strings.Contains(page, row) {
			t.Errorf("docs/packages.md has no row for %s with%s", b.name, row)
		}
	}
}

func TestOneArchitectureNeedsOneBuild(t *testing.T) {
	var out bytes.Buffer
	if err := printBuilds(&out, []string{"mipsel_24kc", "mipsel_74kc"}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "mipsle-softfloat GOARCH=mipsle GOMIPS=softfloat\n"; got != want {
		t.Errorf("two architectures of one kind need %q, want %q", got, want)
	}
}

func TestAllArchitecturesNeedEveryBuild(t *testing.T) {
	for _, arches := range [][]string{nil, {"all"}} {
		var out bytes.Buffer
		if err := printBuilds(&out, arches); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "\n"); got != len(builds()) {
			t.Errorf("the architectures %q need %d builds, want all %d", arches, got, len(builds()))
		}
	}
}

func TestAnUnknownArchitectureIsAnsweredWithThoseThatThereAre(t *testing.T) {
	_, err := chosen([]string{"powerpc_464fp"})
	if err == nil || !strings.Contains(err.Error(), `"powerpc_464fp"`) || !strings.Contains(err.Error(), "mipsel_24kc") {
		t.Errorf("a build for powerpc_464fp = %v, want an error that names it, and what there is", err)
	}
}
