package config

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Mistake is one thing that is wrong with a file, or that check warns of, and
// where it stands.
type Mistake struct {
	File    string
	Line    int    // from 1
	Section string // its name, or @TYPE[N]; empty where there is none
	Option  string // empty where it is not about one
	What    string
}

// String is `FILE:LINE: section: option: what`, as `fairlead check` prints it.
func (m Mistake) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", m.File, m.Line)
	for _, part := range []string{m.Section, m.Option} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	return b.String() + m.What
}

// Mistakes are all that was found in a file, in its order. As an error they
// are never empty.
type Mistakes []Mistake

// Error is one line for each mistake.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].String()
	}
	return strings.Join(lines, "\n")
}

// sorted puts mistakes into the order of the file, each once: what several
// steps stumble over is still one mistake.
func (m Mistakes) sorted() Mistakes {
	m = slices.Clone(m)
	sort.SliceStable(m, func(i, k int) bool { return m[i].Line < m[k].Line })
	seen := make(map[Mistake]bool, len(m))
	return slices.DeleteFunc(m, func(x Mistake) bool {
		again := seen[x]
		seen[x] = true
		return again
	})
}
