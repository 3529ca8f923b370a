package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wanted are the kernel's modules that the gateway and its lab need, and those
// that compute checksums for them.
func wanted() []string {
	return []string{"crc32c_generic", "libcrc32c", "crc32c_s390", "crc32_vx_s390", "nf_tables", "nft_tproxy", "nft_socket", "nft_ct", "nft_chain_nat", "nft_nat", "nft_masq", "nft_redir",
		"nft_reject_inet", "nft_fib_inet", "nft_log", "nft_limit", "nft_counter", "nf_conntrack_netlink", "veth", "tun", "dummy", "bridge", "br_netfilter"}
}

// module is a kernel module as a file's content.
type module struct {
	name    string
	content []byte
}

// inOrder gives the modules of a kernel's tree that are wanted, with those they
// depend on before them. What a kernel has built in is no file.
func inOrder(root string, wanted []string) ([]module, error) {
	files, err := moduleFiles(root)
	if err != nil {
		return nil, fmt.Errorf("looking for modules in %s: %w", root, err)
	}
	var order []module
	done := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = canonical(name)
		file, exists := files[name]
		if !exists || done[name] {
			return nil
		}
		done[name] = true
		content, err := readModule(file)
		if err != nil {
			return fmt.Errorf("reading module %s: %w", file, err)
		}
		needs, err := dependencies(content)
		if err != nil {
			return fmt.Errorf("reading module %s: %w", file, err)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		order = append(order, module{name, content})
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// canonical is a module's name as the kernel has it: in file names - stands for _, too.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

func moduleFiles(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(at), ".ko"); ok && err == nil && !d.IsDir() {
			files[canonical(name)] = at
		}
		return err
	})
	return files, err
}

// readModule reads a module that may be compressed, as newer Debians have them.
func readModule(file string) ([]byte, error) {
	if filepath.Ext(file) == ".xz" {
		return exec.Command("xz", "-dc", file).Output()
	}
	return os.ReadFile(file)
}

// dependencies are what a module says of itself in its section .modinfo:
// NAME=VALUE, each ended by a zero byte.
func dependencies(content []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("it has no section .modinfo")
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	for info := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(info, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
