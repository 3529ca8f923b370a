package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestModulesComeAfterWhatTheyDependOn(t *testing.T) {
	root := t.TempDir()
	for name, info := range map[string]string{
		"nft-tproxy.ko": "license=GPL\x00depends=nf_tables,nf_tproxy\x00",
		"nf_tables.ko":  "depends=libcrc\x00",
		"nf_tproxy.ko":  "depends=\x00",
		"libcrc.ko":     "author=x\x00",
		"unwanted.ko":   "depends=libcrc\x00",
	} {
		if err := os.WriteFile(filepath.Join(root, name), withModinfo(t, info), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	order, err := inOrder(root, []string{"built_in", "nft_tproxy", "nf_tables"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range order {
		got = append(got, m.name)
	}
	if want := []string{"libcrc", "nf_tables", "nf_tproxy", "nft_tproxy"}; !slices.Equal(got, want) {
		t.Errorf("the order is %v, want %v", got, want)
	}
}

func TestAModuleThatIsNoneIsNamed(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "nft.ko"), []byte("no ELF file"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := inOrder(root, []string{"nft"}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("nft.ko")) {
		t.Errorf("inOrder = %v, want it to name the file", err)
	}
}

// withModinfo is a big-endian ELF file with one section of text, as a router's
// modules are.
func withModinfo(t *testing.T, info string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	header := elf.Header32{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2MSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_MIPS), Version: uint32(elf.EV_CURRENT),
		Ehsize: 52, Shoff: 52, Shentsize: 40, Shnum: 3, Shstrndx: 2,
	}
	at := uint32(52 + 3*40)
	sections := []elf.Section32{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint32(len(info))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: at + uint32(len(info)), Size: uint32(len(names))},
	}
	var b bytes.Buffer
	for _, part := range []any{header, sections, []byte(info), []byte(names)} {
		if err := binary.Write(&b, binary.BigEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}
