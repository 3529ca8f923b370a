package fairlead_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// leakTests are the tests of leaks that there are.
func leakTests(t *testing.T) (names []string) {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (TestLeak_\w+)\(`)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range declared.FindAllStringSubmatch(read(t, path), -1) {
			names = append(names, m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTheTableOfLeaksIsTrue(t *testing.T) {
	rows := regexp.MustCompile(`(?m)^\| (L\d\d) \|.*\| (.*) \|$`).FindAllStringSubmatch(read(t, "docs/leaks.md"), -1)
	var numbers, listed []string
	for _, row := range rows {
		number, tests := row[1], regexp.MustCompile("`(TestLeak_\\w+)`").FindAllStringSubmatch(row[2], -1)
		numbers = append(numbers, number)
		for _, m := range tests {
			listed = append(listed, m[1])
			if !strings.Contains(m[1], "_"+number+"_") {
				t.Errorf("docs/leaks.md: %s stands at %s, want it where its name says", m[1], number)
			}
		}
		if len(tests) == 0 && !strings.Contains(row[0], "does not apply") {
			t.Errorf("docs/leaks.md: %s has no test, and does not say that it does not apply", number)
		}
	}
	for i := range 36 {
		if want := fmt.Sprintf("L%02d", i+1); i >= len(numbers) || numbers[i] != want {
			t.Fatalf("docs/leaks.md has the rows %v, want %s at place %d", numbers, want, i+1)
		}
	}

	exist := leakTests(t)
	for _, name := range listed {
		if !slices.Contains(exist, name) {
			t.Errorf("docs/leaks.md names %s, which does not exist", name)
		}
	}
	for _, name := range exist {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/leaks.md does not name %s", name)
		}
	}
}
