package fairlead_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/openwrt/config"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// names are what a room declares: functions, methods, types.
func (p pkg) names(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, file := range p.GoFiles {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				all = append(all, d.Name.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if typ, ok := spec.(*ast.TypeSpec); ok {
						all = append(all, typ.Name.Name)
					}
				}
			}
		}
	}
	return all
}

// What the pages call code: a room or a type, and what it has.
func codeNames() *regexp.Regexp { return regexp.MustCompile("`([a-zA-Z0-9]+(?:\\.[A-Za-z]+)+)`") }

func TestTheArchitectureNamesWhatExists(t *testing.T) {
	declared := make(map[string][]string) // by room and by type: both come before the dot
	for _, p := range packages(t) {
		names := p.names(t)
		declared[path.Base(p.ImportPath)] = append(declared[path.Base(p.ImportPath)], names...)
		for _, name := range names {
			declared[name] = append(declared[name], names...)
		}
	}
	found := 0
	for _, m := range codeNames().FindAllStringSubmatch(read(t, "docs/architecture.md"), -1) {
		if ext := path.Ext(m[1]); ext == ".go" || ext == ".md" {
			continue
		}
		found++
		for parts := strings.Split(m[1], "."); len(parts) > 1; parts = parts[1:] {
			if !slices.Contains(declared[parts[0]], parts[1]) {
				t.Errorf("docs/architecture.md speaks of %s, want something that exists: %s has no %s", m[1], parts[0], parts[1])
			}
		}
	}
	if found < 40 {
		t.Errorf("docs/architecture.md names %d functions and types, want the 40 of the ways at least", found)
	}
}

func TestTheArchitectureHasEveryRoom(t *testing.T) {
	table := regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|").FindAllStringSubmatch(read(t, "docs/architecture.md"), -1)
	var rows, rooms []string
	for _, m := range table {
		rows = append(rows, m[1])
	}
	for _, p := range packages(t) {
		rooms = append(rooms, p.room())
		if !slices.Contains(rows, p.room()) {
			t.Errorf("docs/architecture.md has no row for %s", p.room())
		}
	}
	for _, row := range rows {
		if !slices.Contains(rooms, row) {
			t.Errorf("docs/architecture.md has a row for %s, which is no package", row)
		}
	}
}

func TestTheDatapathNamesChainsThatExist(t *testing.T) {
	ruleset := read(t, "nft/testdata/open.nft") + read(t, "nft/testdata/addresses.nft") + read(t, "nft/testdata/router.nft") + read(t, "nft/testdata/zones.nft")
	found := regexp.MustCompile(`\[([a-z0-9_]+)\]`).FindAllStringSubmatch(read(t, "docs/datapath.md"), -1)
	if len(found) < 20 {
		t.Errorf("docs/datapath.md names %d chains, want them on every way", len(found))
	}
	for _, m := range found {
		if !strings.Contains(ruleset, "chain "+m[1]+" {") {
			t.Errorf("docs/datapath.md speaks of chain %s, want one of the table", m[1])
		}
	}
}

// example is the first configuration in a page.
func example(t *testing.T, file string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, file), "```\nconfig fairlead")
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("%s has no configuration", file)
	}
	return "config fairlead" + text
}

func TestTheExampleOfTheReadmeWorks(t *testing.T) {
	text := example(t, "README.md")
	if lines := strings.Count(text, "\n"); lines != 15 {
		t.Errorf("the example has %d lines, want 15", lines)
	}
	cfg, err := config.Parse("README.md", strings.NewReader(text), func(string) (io.ReadCloser, error) { return nil, os.ErrNotExist }, true)
	if err != nil {
		t.Fatalf("the example has mistakes:\n%v", err)
	}
	if !cfg.Enabled || len(cfg.Warnings) > 0 {
		t.Errorf("enabled = %v, warnings = %v, want a configuration that runs without", cfg.Enabled, cfg.Warnings)
	}
}

// The commands as cmd/fairlead lists them, and as a table of a page does.
func TestTheReadmeHasEveryCommand(t *testing.T) {
	var got, want []string
	for _, m := range regexp.MustCompile(`(?m)^\t\t\{"([a-z]+)", "`).FindAllStringSubmatch(read(t, "cmd/fairlead/main.go"), -1) {
		want = append(want, m[1])
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `fairlead ([a-z]+)").FindAllStringSubmatch(read(t, "README.md"), -1) {
		got = append(got, m[1])
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("README.md has the commands %v, want %v", got, want)
	}
}

func TestThePagesLinkToFilesThatExist(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("there are %d pages in docs (%v), want all of them", len(pages), err)
	}
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "CHANGELOG.md") {
		for _, m := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(read(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, want a file that exists", page, m[1])
			}
		}
	}
}
