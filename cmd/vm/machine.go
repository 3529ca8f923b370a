package main

import (
	"fmt"
	"slices"
	"strings"
)

// machine is a computer that qemu emulates, under Debian's kernel for it.
type machine struct {
	name    string // Debian's of the architecture
	env     []string
	kernel  string // Debian's package that depends on the newest one
	qemu    []string
	console string
}

// memory is that of each, in megabytes. The kernel unpacks into half of it at
// most, and the tests of a 64-bit machine fill more than 128.
const memory = "384"

// machines are a 32-bit little-endian one (most of the cheap routers), a 64-bit
// one (the newer), and a big-endian one: no kernel for big-endian MIPS is built
// any more, and s390x has its byte order.
func machines() []machine {
	return []machine{
		{"mipsel", []string{"GOARCH=mipsle", "GOMIPS=softfloat"}, "linux-image-4kc-malta",
			[]string{"qemu-system-mipsel", "-M", "malta", "-cpu", "24Kc", "-vga", "none"}, "ttyS0"},
		{"arm64", []string{"GOARCH=arm64"}, "linux-image-cloud-arm64",
			[]string{"qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53"}, "ttyAMA0"},
		{"s390x", []string{"GOARCH=s390x"}, "linux-image-s390x",
			[]string{"qemu-system-s390x", "-M", "s390-ccw-virtio", "-cpu", "qemu"}, "ttysclp0"},
	}
}

// chosen are the machines of a list of names, all of them for an empty one.
func chosen(names string) ([]machine, error) {
	if names == "" {
		return machines(), nil
	}
	var all []machine
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(machines(), func(m machine) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no machine %q: choose of mipsel, arm64, s390x", name)
		}
		all = append(all, machines()[i])
	}
	return all, nil
}
