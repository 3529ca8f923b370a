package config

import (
	"fmt"
	"slices"
)

// Suggest gives the name that was probably meant, as the rest of a sentence;
// empty if none is near.
func Suggest(typed string, names []string) string {
	best, distance := "", 1+min(2, (len(typed)+2)/4) // one edit from two bytes on, two from six
	for _, name := range slices.Sorted(slices.Values(names)) {
		if d := edits(typed, name); d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// edits is the Levenshtein distance in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
