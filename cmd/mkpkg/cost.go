package main

import (
	"cmp"
	"debug/elf"
	"fmt"
	"io"
	"slices"
	"strings"
)

// small is below what a package of Go's own library is not named by itself.
const small = 40_000

// printCosts prints what modules and packages cost in binaries, by the symbols
// that the linker lists: code and data. What the linker makes of all of them, the
// tables of functions and of types, is not theirs alone and comes by itself.
func printCosts(out io.Writer, files []string) error {
	for _, name := range files {
		file, err := elf.Open(name)
		if err != nil {
			return fmt.Errorf("reading a binary: %w", err)
		}
		costs, err := costsOf(file)
		file.Close()
		if err != nil {
			return fmt.Errorf("reading the symbols of %s: %w", name, err)
		}
		fmt.Fprintf(out, "\n%s\n", name)
		for _, c := range costs {
			fmt.Fprintf(out, "%10d  %4.1f %%  %s\n", c.bytes, 100*float64(c.bytes)/float64(costs[0].bytes), c.of)
		}
	}
	return nil
}

type cost struct {
	of    string
	bytes uint64
}

// costsOf gives the sum of all that is loaded, and then its parts, the largest
// first.
func costsOf(file *elf.File) ([]cost, error) {
	symbols, err := file.Symbols()
	if err != nil {
		return nil, err
	}
	parts := make(map[string]uint64)
	var total, known uint64
	for _, s := range file.Sections {
		if !loaded(s) {
			continue
		}
		total += s.Size
		if s.Name == ".gopclntab" {
			parts["tables of functions and lines"] += s.Size
			known += s.Size
		}
	}
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF || int(s.Section) >= len(file.Sections) {
			continue
		}
		if in := file.Sections[s.Section]; !loaded(in) || in.Name == ".gopclntab" {
			continue
		}
		parts[owner(s.Name)] += s.Size
		known += s.Size
	}
	parts["types, strings and what else has no symbol"] += total - min(known, total)
	return append([]cost{{"all that is loaded", total}}, largest(parts)...), nil
}

// loaded says whether a section takes room in the file and in memory.
func loaded(s *elf.Section) bool {
	return s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS
}

// largest sorts costs, and takes the small packages of Go's library together.
func largest(parts map[string]uint64) []cost {
	var all []cost
	rest := cost{of: "Go: other packages"}
	for of, n := range parts {
		if strings.HasPrefix(of, "Go: ") && n < small {
			rest.bytes += n
			continue
		}
		all = append(all, cost{of, n})
	}
	slices.SortFunc(all, func(a, b cost) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.of, b.of))
	})
	return append(all, rest)
}

// owner is whose a symbol is: a module, fairlead, or a package of Go's library.
// Symbols are called by the import path, a dot, and the name; what a generic
// function is made for stands in brackets behind.
func owner(symbol string) string {
	name, _, _ := strings.Cut(symbol, "[")
	slash := strings.LastIndex(name, "/") + 1
	dot := strings.Index(name[slash:], ".")
	if dot < 0 || strings.HasPrefix(name, "type:") || strings.HasPrefix(name, "go:") {
		return "Go: tables of the linker"
	}
	path := name[:slash+dot]
	switch parts := strings.Split(path, "/"); {
	case path == "main" || strings.HasPrefix(path, "github.com/fairlead/fairlead"):
		return "fairlead"
	case parts[0] == "vendor" || !strings.Contains(parts[0], "."):
		return "Go: " + path
	case len(parts) > 2:
		return strings.Join(parts[:3], "/")
	case len(parts) > 1:
		return strings.Join(parts[:2], "/")
	}
	return path
}
