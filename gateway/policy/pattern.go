package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Pattern matches host names. The zero Pattern matches none.
type Pattern struct {
	form form
	text string         // lower-case name or keyword, or the source of re
	re   *regexp.Regexp // of form expression only
}

// form is what the text of a pattern is compared with.
type form uint8

const (
	nothing    form = iota
	suffix          // the name itself and what is under it
	full            // the name itself
	keyword         // a part of the name, wherever it stands
	expression      // a regular expression, anchored only if it says so
)

// String is the word before the colon, as ParsePattern reads it.
func (f form) String() string {
	return [...]string{"nothing", "domain", "full", "keyword", "regexp"}[f]
}

// ParsePattern reads a pattern as rules and rule sets write it: example.cn,
// .example.cn, *.example.cn and domain:example.cn are the name with its
// subdomains; full:x is the name alone; keyword:x any name that contains x;
// regexp:x any name that contains a match of x, in the syntax of RE2. Names are
// lower-cased and lose a trailing dot; those that are not ASCII are refused.
func ParsePattern(s string) (Pattern, error) {
	if isAddress(s) {
		return Pattern{}, fmt.Errorf("%q is an address, not a name", s)
	}
	word, text, labelled := strings.Cut(s, ":")
	if !labelled {
		return namePattern(suffix, trimWildcard(s))
	}
	switch word {
	case "domain":
		return namePattern(suffix, trimWildcard(text))
	case "full":
		return namePattern(full, text)
	case "keyword":
		return keywordPattern(text)
	case "regexp":
		return regexpPattern(text)
	}
	return Pattern{}, fmt.Errorf("%q: a pattern begins with domain:, full:, keyword: or regexp:, not with %s:", s, word)
}

// trimWildcard takes away what other programs write before a name to say that
// its subdomains are meant.
func trimWildcard(s string) string {
	if rest, ok := strings.CutPrefix(s, "*."); ok {
		return rest
	}
	return strings.TrimPrefix(s, ".")
}

func isAddress(s string) bool {
	if !strings.Contains(s, ":") && strings.TrimRight(s, "0123456789") == s {
		return false // most names: refusing them here spares each two errors
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(s)
	return err == nil
}

func namePattern(f form, s string) (Pattern, error) {
	name := strings.TrimSuffix(lower(s), ".")
	if err := checkName(name); err != nil {
		return Pattern{}, err
	}
	return Pattern{form: f, text: name}, nil
}

func keywordPattern(s string) (Pattern, error) {
	word := lower(s)
	if err := checkLetters(word); err != nil {
		return Pattern{}, err
	}
	return Pattern{form: keyword, text: word}, nil
}

func regexpPattern(s string) (Pattern, error) {
	if s == "" {
		return Pattern{}, errors.New("the regular expression is empty")
	}
	source := s
	if lower(s) != s {
		source = "(?i)" + s // names are lower-case; the source itself cannot be: \S is not \s
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return Pattern{}, fmt.Errorf("compiling %q: %w", s, err)
	}
	return Pattern{form: expression, text: s, re: re}, nil
}

// lower is strings.ToLower for ASCII alone. Some letters beyond it, such as the
// Kelvin sign, have lower-case forms within it.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return strings.Map(func(r rune) rune {
				if r >= 'A' && r <= 'Z' {
					r += 'a' - 'A'
				}
				return r
			}, s)
		}
	}
	return s
}

// checkName holds a lower-case name to the lengths of RFC 1035 section 2.3.4
// and to the characters of host names and of underscored names (RFC 8552).
func checkName(name string) error {
	if err := checkLetters(name); err != nil {
		return err
	}
	if len(name) > 253 {
		return fmt.Errorf("%q is longer than 253 bytes", name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return fmt.Errorf("%q has an empty label", name)
		}
		if len(label) > 63 {
			return fmt.Errorf("%q has a label longer than 63 bytes", name)
		}
	}
	if isAddress(name) {
		return fmt.Errorf("%q is an address, not a name", name)
	}
	return nil
}

func checkLetters(s string) error {
	if s == "" {
		return errors.New("the name is empty")
	}
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		case c > 0x7f:
			return fmt.Errorf("%q is not ASCII: write its xn-- form", s)
		case c == '*':
			return fmt.Errorf("%q: a * can only stand at the beginning, as in *.example; keyword: and regexp: match parts of names", s)
		default:
			return fmt.Errorf("%q: %q cannot stand in a host name", s, c)
		}
	}
	return nil
}

// Match says whether the pattern matches a name, which is lower-case and has no
// trailing dot. No pattern matches the empty name.
func (p Pattern) Match(name string) bool {
	if name == "" {
		return false
	}
	switch p.form {
	case suffix:
		return under(name, p.text)
	case full:
		return name == p.text
	case keyword:
		return strings.Contains(name, p.text)
	case expression:
		return p.re.MatchString(name)
	}
	return false
}

// under says whether name is parent or a name below it.
func under(name, parent string) bool {
	cut := len(name) - len(parent)
	return cut >= 0 && name[cut:] == parent && (cut == 0 || name[cut-1] == '.')
}

// String gives the pattern with its prefix, as ParsePattern reads it.
func (p Pattern) String() string { return p.form.String() + ":" + p.text }
