package main

import (
	"fmt"
	"slices"
	"strings"
)

// build is one of the binaries that serve nearly every device, and the
// architectures of OpenWrt that run it.
type build struct {
	name   string   // as in the name of its binary
	env    []string // for go build, beside GOOS
	arches []string // as `opkg print-architecture` calls them
}

// builds come from the targets of OpenWrt 22.03 to 25.12 and from the rules of
// its golang-values.mk: a core without VFP takes GOARM=5, with VFPv1 or v2 6, else
// 7. A soft-float binary runs on processors with an FPU, too; fairlead calculates
// with integers, so one for all MIPS and one for all 386 cost nothing.
func builds() []build {
	return []build{
		{"mipsle-softfloat", []string{"GOARCH=mipsle", "GOMIPS=softfloat"},
			[]string{"mipsel_24kc", "mipsel_24kc_24kf", "mipsel_74kc", "mipsel_mips32"}},
		{"mips-softfloat", []string{"GOARCH=mips", "GOMIPS=softfloat"},
			[]string{"mips_24kc", "mips_4kec", "mips_mips32"}},
		{"arm-5", []string{"GOARCH=arm", "GOARM=5"},
			[]string{"arm_arm926ej-s", "arm_cortex-a7", "arm_cortex-a9", "arm_xscale"}},
		{"arm-6", []string{"GOARCH=arm", "GOARM=6"},
			[]string{"arm_arm1176jzf-s_vfp"}},
		{"arm-7", []string{"GOARCH=arm", "GOARM=7"},
			[]string{"arm_cortex-a15_neon-vfpv4", "arm_cortex-a5_vfpv4", "arm_cortex-a7_neon-vfpv4", "arm_cortex-a7_vfpv4",
				"arm_cortex-a8_vfpv3", "arm_cortex-a9_neon", "arm_cortex-a9_vfpv3-d16"}},
		{"arm64", []string{"GOARCH=arm64"},
			[]string{"aarch64_cortex-a53", "aarch64_cortex-a72", "aarch64_cortex-a76", "aarch64_generic"}},
		{"amd64", []string{"GOARCH=amd64"},
			[]string{"x86_64"}},
		{"386", []string{"GOARCH=386", "GO386=softfloat"},
			[]string{"i386_pentium-mmx", "i386_pentium4"}},
		{"riscv64", []string{"GOARCH=riscv64"},
			[]string{"riscv64_generic", "riscv64_riscv64"}},
	}
}

// chosen are the builds that are needed for some architectures, with no others
// than these. No architectures, or the word all, mean every one.
func chosen(arches []string) ([]build, error) {
	if len(arches) == 0 || slices.Equal(arches, []string{"all"}) {
		return builds(), nil
	}
	var all []build
	known := make(map[string]bool)
	for _, b := range builds() {
		kept := slices.DeleteFunc(b.arches, func(a string) bool { return !slices.Contains(arches, a) })
		for _, a := range kept {
			known[a] = true
		}
		if b.arches = kept; len(kept) > 0 {
			all = append(all, b)
		}
	}
	for _, a := range arches {
		if !known[a] {
			return nil, fmt.Errorf("there is no build for the architecture %q: `opkg print-architecture` on the router tells its own; there are %s",
				a, strings.Join(every(), " "))
		}
	}
	return all, nil
}

// every is every architecture.
func every() []string {
	var all []string
	for _, b := range builds() {
		all = append(all, b.arches...)
	}
	slices.Sort(all)
	return all
}
