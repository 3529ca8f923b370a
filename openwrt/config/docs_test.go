package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// documented reads the tables and the first example of docs/configuration.md:
// rows of option, values and default, by type of section.
func documented(t *testing.T) (rows map[string][]string, example string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```\n")
	example, _, _ = strings.Cut(rest, "```")

	rows = make(map[string][]string)
	typ := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "## config "); ok {
			typ, _, _ = strings.Cut(heading, " ")
		}
		if strings.HasPrefix(line, "| `") {
			cells := strings.SplitN(strings.Trim(line, "| "), " | ", 4)
			if len(cells) != 4 || cells[3] == "" {
				t.Errorf("the row %q has no meaning", line)
				continue
			}
			rows[typ] = append(rows[typ], strings.Join(cells[:3], " | "))
		}
	}
	return rows, example
}

// row is what the documentation must say of an option.
func row(o option) string {
	name, def := o.name, "–"
	if o.list {
		name = "list " + name
	}
	switch {
	case o.defElse != "":
		def = o.defElse
	case o.def != "":
		def = "`" + o.def + "`"
	}
	return fmt.Sprintf("`%s` | %s | %s", name, describe(o), def)
}

// describe says in words what values an option takes, as the documentation must.
func describe(o option) string {
	switch {
	case o.max > 0:
		return fmt.Sprintf("%d..%d", o.min, o.max)
	case len(o.choices) > 0:
		return "`" + strings.Join(o.choices, "` `") + "`"
	}
	return o.values
}

func TestTheDocumentationSaysWhatTheReaderAccepts(t *testing.T) {
	rows, _ := documented(t)
	for _, typ := range schema() {
		var want []string
		for _, o := range typ.options {
			want = append(want, row(o))
		}
		if got, want := strings.Join(rows[typ.name], "\n"), strings.Join(want, "\n"); got != want {
			t.Errorf("docs/configuration.md says of sections of type %s\n%s\nwant\n%s", typ.name, got, want)
		}
		delete(rows, typ.name)
	}
	for typ := range rows {
		t.Errorf("docs/configuration.md has a table for %q, which is no type of section", typ)
	}
}

func TestTheExampleOfTheDocumentationIsComplete(t *testing.T) {
	_, example := documented(t)
	if lines := strings.Count(example, "\n"); lines != 15 {
		t.Errorf("the example has %d lines, want 15", lines)
	}
	cfg, err := Parse("example", strings.NewReader(example), files(nil), true)
	if err != nil {
		t.Fatalf("the example has mistakes:\n%v", err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("the example has warnings:\n%v", cfg.Warnings)
	}
}

func TestEveryDefaultIsAValue(t *testing.T) {
	b := newBuilder("defaults", nil, true)
	for typ := range b.schema {
		b.single(typ, "x").readDefaults()
	}
	if len(b.mistakes) > 0 {
		t.Errorf("defaults are mistakes:\n%v", b.mistakes)
	}
}

// readDefaults reads what numbers, booleans and choices are by default.
func (s *section) readDefaults() {
	for _, o := range s.schema {
		switch {
		case o.max > 0:
			s.number(o.name)
		case len(o.choices) > 0:
			s.choice(o.name)
		case o.values == booleans:
			s.flag(o.name)
		}
	}
}
