package policy

import (
	"cmp"
	"slices"
	"sort"
	"strings"
)

// names is a set of patterns, built for lists of a hundred thousand domains in
// the memory of a small router.
type names struct {
	suffixes nameList // none is under another
	fulls    nameList // none is under a suffix
	keywords []string
	regexps  []Pattern
}

// match says whether any pattern of the set matches the name.
func (n *names) match(name string) bool {
	if name == "" {
		return false
	}
	if n.suffixes.hasParent(name) || n.fulls.has(name) {
		return true
	}
	if n.hasKeyword(name) {
		return true
	}
	for i := range n.regexps {
		if n.regexps[i].Match(name) {
			return true
		}
	}
	return false
}

func (n *names) hasKeyword(name string) bool {
	for _, k := range n.keywords {
		if strings.Contains(name, k) {
			return true
		}
	}
	return false
}

func (n *names) count() int {
	return n.suffixes.count() + n.fulls.count() + len(n.keywords) + len(n.regexps)
}

// namesBuilder collects patterns for a names.
type namesBuilder struct {
	suffixes, fulls nameBuilder
	keywords        []string
	regexps         []Pattern
}

func (b *namesBuilder) add(p Pattern) {
	switch p.form {
	case suffix:
		b.suffixes.add(p.text)
	case full:
		b.fulls.add(p.text)
	case keyword:
		b.keywords = append(b.keywords, p.text)
	case expression:
		b.regexps = append(b.regexps, p)
	}
}

// bytes is the memory that the names collected so far take.
func (b *namesBuilder) bytes() int { return b.suffixes.blob.Len() + b.fulls.blob.Len() }

func (b *namesBuilder) build() names {
	slices.Sort(b.keywords)
	slices.SortFunc(b.regexps, func(x, y Pattern) int { return strings.Compare(x.text, y.text) })
	n := names{
		keywords: slices.Compact(b.keywords),
		regexps:  slices.CompactFunc(b.regexps, func(x, y Pattern) bool { return x.text == y.text }),
	}
	n.suffixes = b.suffixes.build(under)
	n.fulls = b.fulls.build(func(name, previous string) bool {
		return name == previous || n.suffixes.hasParent(name)
	})
	return n
}

func namesOf(patterns []Pattern) names {
	var b namesBuilder
	for _, p := range patterns {
		b.add(p)
	}
	return b.build()
}

// nameList is a sorted list of names: one blob and where each name ends in it.
// The order is that of the names read backwards, which puts everything under a
// name right behind it.
type nameList struct {
	blob string
	ends []uint32
}

func (l *nameList) count() int { return len(l.ends) }

func (l *nameList) at(i int) string {
	start := uint32(0)
	if i > 0 {
		start = l.ends[i-1]
	}
	return l.blob[start:l.ends[i]]
}

// hasChild says whether a name below the given one is in the list.
func (l *nameList) hasChild(name string) bool {
	i := l.behind(name)
	return i < len(l.ends) && under(l.at(i), name)
}

// behind is the position of the first name that is behind the given one.
func (l *nameList) behind(name string) int {
	return sort.Search(len(l.ends), func(i int) bool { return compareBackwards(l.at(i), name) > 0 })
}

// floor is the last name of the list that is not behind the given one; empty
// if there is none.
func (l *nameList) floor(name string) string {
	i := l.behind(name)
	if i == 0 {
		return ""
	}
	return l.at(i - 1)
}

func (l *nameList) has(name string) bool { return l.floor(name) == name }

// hasParent says whether the name or one above it is in the list, in which
// none may be under another: then nothing can stand between the two.
func (l *nameList) hasParent(name string) bool {
	parent := l.floor(name)
	return parent != "" && under(name, parent)
}

// compareBackwards compares names from their ends. The dot comes before every
// other byte, so that what is under a name comes before its other extensions
// to the left: example, a.example, an-example.
func compareBackwards(a, b string) int {
	i, j := len(a), len(b)
	for i > 0 && j > 0 {
		i--
		j--
		if a[i] != b[j] {
			return cmp.Compare(rank(a[i]), rank(b[j]))
		}
	}
	return cmp.Compare(i, j)
}

func rank(c byte) int {
	if c == '.' {
		return -1
	}
	return int(c)
}

// nameBuilder collects names for a nameList. It keeps no string per name.
type nameBuilder struct {
	blob strings.Builder
	ends []uint32
}

func (b *nameBuilder) add(name string) {
	b.blob.WriteString(name)
	b.ends = append(b.ends, uint32(b.blob.Len()))
}

// build sorts the names and leaves out those that are redundant behind the one
// kept before them, which is empty for the first.
func (b *nameBuilder) build(redundant func(name, previous string) bool) nameList {
	collected := nameList{blob: b.blob.String(), ends: b.ends}
	order := make([]uint32, len(b.ends))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(x, y uint32) int {
		return compareBackwards(collected.at(int(x)), collected.at(int(y)))
	})

	var blob strings.Builder
	blob.Grow(len(collected.blob))
	ends := order[:0] // overtaken only by entries already read
	previous := ""
	for _, i := range order {
		name := collected.at(int(i))
		if redundant(name, previous) {
			continue
		}
		blob.WriteString(name)
		ends = append(ends, uint32(blob.Len()))
		previous = name
	}
	return nameList{blob: blob.String(), ends: slices.Clip(ends)}
}
