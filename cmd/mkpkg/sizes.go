package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/package/ipk"
	"github.com/fairlead/fairlead/package/payload"
)

// recorded is where the sizes are written down that the packages may not exceed
// unseen.
const recorded = "package/sizes.txt"

// growth is by how many percent a package may exceed what is recorded.
const growth = 3

// size is what one package takes, in bytes.
type size struct {
	program   int // the binary, as it lies on the router
	packed    int // the ipk, as it is downloaded
	installed int // all files, as opkg counts them
}

// limits are what the small routers are promised, whatever is recorded.
func limits() map[string]size {
	return map[string]size{
		"fairlead mipsle-softfloat":      {packed: 4_000_000, installed: 10_500_000},
		"fairlead-tiny mipsle-softfloat": {packed: 3_000_000, installed: 10_500_000},
	}
}

// printSizes measures the packages of some architectures, or of all, and holds
// them against the recorded sizes; with the word `record` it records them.
func printSizes(out io.Writer, args []string) error {
	record := len(args) > 0 && args[0] == "record"
	if record {
		args = args[1:]
	}
	if record && len(args) > 0 {
		return errors.New("sizes are recorded of all architectures together: leave ARCH out")
	}
	names, sizes, err := measure(args)
	if err != nil {
		return err
	}
	table := format(names, sizes)
	fmt.Fprint(out, table)
	if err := within(limits(), sizes, 0, "it may not: leave something out"); err != nil {
		return err
	}
	if record {
		return os.WriteFile(recorded, []byte(table), 0o644)
	}
	text, err := os.ReadFile(recorded)
	if err != nil {
		return fmt.Errorf("reading the recorded sizes: %w", err)
	}
	known, err := parseSizes(string(text))
	if err != nil {
		return err
	}
	return within(known, sizes, growth, "if it is worth that, record it by `make size RECORD=1` and say in the commit what for")
}

// measure weighs a package of each build and variant. Those of the architectures
// that one build serves differ by the few bytes of the name.
func measure(arches []string) (names []string, sizes map[string]size, err error) {
	sizes = make(map[string]size)
	err = eachBuild(arches, func(p payload.Package, b build) error {
		p.Arch = b.arches[0]
		s, err := weigh(p)
		name := p.Name + " " + b.name
		names, sizes[name] = append(names, name), s
		return err
	})
	return names, sizes, err
}

func weigh(p payload.Package) (size, error) {
	file, err := os.Stat(ipkFile(p))
	if err != nil {
		return size{}, fmt.Errorf("weighing what `make ipk` makes: %w", err)
	}
	installed, err := ipk.Installed(p)
	if err != nil {
		return size{}, err
	}
	program := slices.IndexFunc(p.Files, func(f payload.File) bool { return f.Path == onRouter })
	return size{program: len(p.Files[program].Data), packed: int(file.Size()), installed: installed}, nil
}

func format(names []string, sizes map[string]size) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%-36s %10s %10s %10s\n", "# bytes: package and build", "binary", "package", "installed")
	for _, name := range names {
		s := sizes[name]
		fmt.Fprintf(&text, "%-36s %10d %10d %10d\n", name, s.program, s.packed, s.installed)
	}
	return text.String()
}

func parseSizes(text string) (map[string]size, error) {
	sizes := make(map[string]size)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var variant, build string
		var s size
		if _, err := fmt.Sscanf(line, "%s %s %d %d %d", &variant, &build, &s.program, &s.packed, &s.installed); err != nil {
			return nil, fmt.Errorf("reading %s: line %q: %w", recorded, strings.TrimSpace(line), err)
		}
		sizes[variant+" "+build] = s
	}
	return sizes, nil
}

// within finds sizes that exceed others by more than some percent. What is zero
// there is not compared.
func within(most, sizes map[string]size, percent int, advice string) error {
	var errs []error
	for name, s := range sizes {
		m, ok := most[name]
		if !ok {
			if percent > 0 {
				errs = append(errs, fmt.Errorf("%s is not recorded in %s: `make size RECORD=1` does it", name, recorded))
			}
			continue
		}
		for _, part := range []struct {
			what     string
			is, most int
		}{{"package", s.packed, m.packed}, {"files", s.installed, m.installed}} {
			if bound := part.most + part.most*percent/100; part.is > bound {
				errs = append(errs, fmt.Errorf("%s, its %s: %d bytes, and %d are allowed (%d and %d %%): %s",
					name, part.what, part.is, bound, part.most, percent, advice))
			}
		}
	}
	return errors.Join(errs...)
}
