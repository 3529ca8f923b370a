package uci

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// show is a file in one line: type, title, then options with their lines.
func show(f *File) string {
	var b strings.Builder
	for _, s := range f.Sections {
		fmt.Fprintf(&b, "%s %s:%d%v{", s.Type, s.Title(), s.Line, s.Again)
		for _, o := range s.Options {
			fmt.Fprintf(&b, " %s", o.Name)
			if o.List {
				b.WriteString("+")
			}
			for _, v := range o.Values {
				fmt.Fprintf(&b, " %q:%d", v.Text, v.Line)
			}
		}
		b.WriteString(" } ")
	}
	return strings.TrimSpace(b.String())
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"an empty file has no sections", "", ""},
		{"comments and blank lines count as lines", "# one\n\n  # three\nconfig a 'x'\n", "a x:4[]{ }"},
		{"a value is quoted singly, doubly, or not at all",
			"config a\n\toption b 'x y'\n\toption c \"x y\"\n\toption d xy",
			`a @a[0]:1[]{ b "x y":2 c "x y":3 d "xy":4 }`},
		{"quoted and bare parts join to one word", `config a` + "\n" + `option b x'y z'"w"`, `a @a[0]:1[]{ b "xy zw":2 }`},
		{"a backslash protects one byte between double quotes and outside of quotes",
			"config a\noption b \"x\\\"y\"\noption c x\\ y\\'z", `a @a[0]:1[]{ b "x\"y":2 c "x y'z":3 }`},
		{"a backslash stands for itself between single quotes", `config a` + "\n" + `option b 'x\y'`, `a @a[0]:1[]{ b "x\\y":2 }`},
		{"a backslash before a line end joins the lines", "config a\noption b x\\\ny\noption c \\\r\n z", `a @a[0]:1[]{ b "xy":2 c "z":4 }`},
		{"a quoted value may go over lines", "config a\noption b 'x\n y'\noption c z", `a @a[0]:1[]{ b "x\n y":2 c "z":4 }`},
		{"a comment may follow, even without a space", "config a # x\noption b y#z", `a @a[0]:1[]{ b "y":2 }`},
		{"a semicolon ends a statement", "config a; option b c; option d e", `a @a[0]:1[]{ b "c":1 d "e":1 }`},
		{"statements may be one letter", "p x\nc a b\no c d\nl e f", `a b:2[]{ c "d":3 e+ "f":4 }`},
		{"CRLF ends a line", "config a 'x'\r\n\toption b 'c'\r\n\toption d e\r\n", `a x:1[]{ b "c":2 d "e":3 }`},
		{"unnamed sections are counted among their type, with the named ones",
			"config a\nconfig b\nconfig a x\nconfig a", "a @a[0]:1[]{ } b @b[0]:2[]{ } a x:3[]{ } a @a[2]:4[]{ }"},
		{"an empty name is none", "config a ''", "a @a[0]:1[]{ }"},
		{"the last option counts", "config a\noption b c\noption d e\noption b f", `a @a[0]:1[]{ b "f":4 d "e":3 }`},
		{"an empty option takes it away", "config a\noption b c\noption b ''", `a @a[0]:1[]{ }`},
		{"list values collect", "config a\nlist b c\noption d e\nlist b f", `a @a[0]:1[]{ b+ "c":2 "f":4 d "e":3 }`},
		{"a list behind an option of the same name keeps its value", "config a\noption b c\nlist b d", `a @a[0]:1[]{ b+ "c":2 "d":3 }`},
		{"an option behind a list replaces it", "config a\nlist b c\nlist b d\noption b e", `a @a[0]:1[]{ b "e":4 }`},
		{"a second section of the same type and name merges",
			"config a x\noption b c\nconfig a y\nconfig a x\noption d e\noption b f", `a x:1[4]{ b "f":6 d "e":5 } a y:3[]{ }`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, mistakes := Parse(tt.text)
			if got := show(f); got != tt.want {
				t.Errorf("Parse(%q) = %s, want %s", tt.text, got, tt.want)
			}
			if len(mistakes) > 0 {
				t.Errorf("Parse(%q) found %+v, want no mistakes", tt.text, mistakes)
			}
		})
	}
}

func TestMistakesAreNamedAndReadingGoesOn(t *testing.T) {
	tests := []struct {
		name, text string
		want       []Mistake
		sections   string
	}{
		{"an unknown statement", "config a x\nfoo\noption b c",
			[]Mistake{{2, "x", `"foo" is no statement; there are package, config, option and list`}}, `a x:1[]{ b "c":3 }`},
		{"a quote that is not closed costs its line only", "config a\noption b 'c\noption d e",
			[]Mistake{{2, "@a[0]", "the quote ' is not closed"}}, `a @a[0]:1[]{ d "e":3 }`},
		{"a quote that the next line closes is a value too many", "config a\noption b 'c\noption d 'e'\noption f g",
			[]Mistake{{2, "@a[0]", "the quote ' is not closed"}}, `a @a[0]:1[]{ d "e":3 f "g":4 }`},
		{"an option before the first section", "option b c\nconfig a",
			[]Mistake{{1, "", "it stands before the first section"}}, "a @a[0]:2[]{ }"},
		{"a value that should be quoted", "config a\nlist b c d",
			[]Mistake{{2, "@a[0]", `"d" is too much; it reads list NAME VALUE, and a value with spaces needs quotes`}}, "a @a[0]:1[]{ }"},
		{"a value that is missing", "config a\noption b\noption",
			[]Mistake{{2, "@a[0]", "something is missing; it reads option NAME VALUE"},
				{3, "@a[0]", "something is missing; it reads option NAME VALUE"}}, "a @a[0]:1[]{ }"},
		{"a section without a type", "config\npackage",
			[]Mistake{{1, "", "something is missing; it reads config TYPE ['NAME']"},
				{2, "", "something is missing; it reads package NAME"}}, ""},
		{"names with other characters", "config a my-tv\nconfig a\noption b-c d\nconfig 'a b'",
			[]Mistake{{1, "", `"my-tv" is no name of a section; names are letters, digits and underscores`},
				{3, "@a[0]", `"b-c" is no name of an option; names are letters, digits and underscores`},
				{4, "", `"a b" is no type of section; types are printable ASCII without spaces`}}, "a @a[0]:2[]{ }"},
		{"the options of a section that was not understood go nowhere", "config a\nconfig b c d\noption e f\noption\nconfig g",
			[]Mistake{{2, "", `"d" is too much; it reads config TYPE ['NAME'], and a value with spaces needs quotes`},
				{4, "", "something is missing; it reads option NAME VALUE"}}, "a @a[0]:1[]{ } g @g[0]:5[]{ }"},
		{"one name for two types", "config a x\nconfig b x\noption c d",
			[]Mistake{{2, "", `section "x" is of type a already, on line 1`}}, "a x:1[]{ }"},
		{"a NUL byte", "config a\noption b 'c\x00d'",
			[]Mistake{{2, "@a[0]", "it holds a NUL byte"}}, "a @a[0]:1[]{ }"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, mistakes := Parse(tt.text)
			if !reflect.DeepEqual(mistakes, tt.want) {
				t.Errorf("Parse(%q) found\n%+v, want\n%+v", tt.text, mistakes, tt.want)
			}
			if got := show(f); got != tt.sections {
				t.Errorf("Parse(%q) = %s, want %s", tt.text, got, tt.sections)
			}
		})
	}
}

func TestAFileThatIsNotUCIIsGivenUp(t *testing.T) {
	_, mistakes := Parse(strings.Repeat("<p>\n", 10*maxMistakes))
	if got := len(mistakes); got != maxMistakes {
		t.Errorf("a page of HTML gave %d mistakes, want %d", got, maxMistakes)
	}
}

// strip removes what printing does not keep: lines.
func strip(f *File) *File {
	for _, s := range f.Sections {
		s.Line, s.Again = 0, nil
		for _, o := range s.Options {
			for i := range o.Values {
				o.Values[i].Line = 0
			}
		}
	}
	return f
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.uci")
	if err != nil || len(files) == 0 {
		f.Fatalf("looking for the corpus in testdata: %d files, %v", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, mistakes := Parse(text)
		lines := 1 + strings.Count(text, "\n")
		for _, m := range mistakes {
			if m.Line < 1 || m.Line > lines || m.What == "" {
				t.Errorf("mistake %+v does not stand in a file of %d lines", m, lines)
			}
		}
		printed := first.String()
		second, mistakes := Parse(printed)
		if len(mistakes) > 0 {
			t.Fatalf("what is printed back has mistakes %+v:\n%s", mistakes, printed)
		}
		if got, want := show(strip(second)), show(strip(first)); got != want {
			t.Errorf("what is printed back parses to\n%s, want\n%s", got, want)
		}
	})
}
