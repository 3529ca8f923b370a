package main

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// spoiled is a message with something wrong in it.
type spoiled struct {
	about   string
	msg     []byte
	silence bool
}

func malformed() []spoiled {
	const (
		recursion = 0x100
		name      = "\x03www\x07interop\x07example\x00"
		www       = name + "\x00\x01\x00\x01"
		opt       = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
		record    = "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"
	)
	one := [4]uint16{1, 0, 0, 0}
	return []spoiled{
		{about: "an answer", msg: withCounts(1<<15|recursion, one, www), silence: true},
		{about: "half a header", msg: withCounts(recursion, one)[:6], silence: true},
		{about: "no question", msg: withCounts(recursion, [4]uint16{})},
		{about: "no question, but an option", msg: withCounts(recursion, [4]uint16{0, 0, 0, 1}, opt)},
		{about: "two questions", msg: withCounts(recursion, [4]uint16{2, 0, 0, 0}, www, www)},
		{about: "a question less than counted", msg: withCounts(recursion, [4]uint16{2, 0, 0, 0}, www)},
		{about: "a question cut short", msg: withCounts(recursion, one, www[:len(www)-2])},
		{about: "a name cut short", msg: withCounts(recursion, one, "\x03ww")},
		{about: "a name that points at itself", msg: withCounts(recursion, one, "\xc0\x0c\x00\x01\x00\x01")},
		{about: "a name that points ahead", msg: withCounts(recursion, one, "\xc0\x20\x00\x01\x00\x01")},
		{about: "a label of 64 octets", msg: withCounts(recursion, one, "\x40"+strings.Repeat("a", 64)+"\x00\x00\x01\x00\x01")},
		{about: "an extended label", msg: withCounts(recursion, one, "\x41\x01\xff\x00\x00\x01\x00\x01")},
		{about: "a name of 256 octets", msg: withCounts(recursion, one, strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)+"\x3e"+strings.Repeat("a", 62)+"\x00\x00\x01\x00\x01")},
		{about: "octets behind the end", msg: withCounts(recursion, one, www, "behind")},
		{about: "a record in the answer", msg: withCounts(recursion, [4]uint16{1, 1, 0, 0}, www, record)},
		{about: "a record in the authority", msg: withCounts(recursion, [4]uint16{1, 0, 1, 0}, www, record)},
		{about: "a record beside", msg: withCounts(recursion, [4]uint16{1, 0, 0, 1}, www, record)},
		{about: "a record beside, cut short", msg: withCounts(recursion, [4]uint16{1, 0, 0, 1}, www, record[:14])},
		{about: "two OPT records", msg: withCounts(recursion, [4]uint16{1, 0, 0, 2}, www, opt, opt)},
		{about: "an OPT record of a name", msg: withCounts(recursion, [4]uint16{1, 0, 0, 1}, www, "\x01a"+opt)},
		{about: "an OPT record as the answer", msg: withCounts(recursion, [4]uint16{1, 1, 0, 0}, www, opt)},
		{about: "an option cut short", msg: withCounts(recursion, [4]uint16{1, 0, 0, 1}, www, opt[:9]+"\x00\x04\x00\x0a\x00\x08")},
		{about: "a signature of the transaction", msg: withCounts(recursion, [4]uint16{1, 0, 0, 1}, www, tsig())},
		{about: "truncated, says the asker", msg: withCounts(recursion|0x200, one, www)},
		{about: "a code, says the asker", msg: withCounts(recursion|5, one, www)},
	}
}

// tsig is a record of RFC 8945 with a key that nobody has.
func tsig() string {
	const algorithm = "\x0bhmac-sha256\x00"
	data := algorithm + "\x00\x00\x00\x00\x00\x00" + "\x01\x2c" + "\x00\x00" + "\xab\xcd" + "\x00\x00" + "\x00\x00"
	return "\x03key\x00" + "\x00\xfa\x00\xff\x00\x00\x00\x00\x00" + string(rune(len(data))) + data
}

// oddNames are legal, and hard to handle.
func oddNames(label string) iter.Seq2[string, string] {
	odd := map[string]string{
		"a label of 63 octets":   label + "." + domain,
		"255 octets":             label + "." + label + "." + label + "." + strings.Repeat("l", 61-len(domain)) + "." + domain,
		"many labels":            strings.Repeat("a.", 110) + domain,
		"a dot in a label":       `do\.t.` + domain,
		"a space":                `sp\032ace.` + domain,
		"octets":                 `b\000in\255.` + domain,
		"a backslash":            `back\\slash.` + domain,
		"only digits":            "192.0.2.1.",
		"an underscore":          "under_score." + domain,
		"a dash at both ends":    "-dash-." + domain,
		"an at sign":             `a\@b.` + domain,
		"quotes":                 `\"quoted\".` + domain,
		"too long by a DNAME":    strings.Repeat(label+".", 3) + strings.Repeat("l", 36) + ".dname." + domain,
		"upper case, not ASCII":  `\195\132.` + domain,
		"a star in the middle":   "a.*." + domain,
		"what looks like a flag": "--help." + domain,
	}
	return func(yield func(string, string) bool) {
		for _, about := range slices.Sorted(maps.Keys(odd)) {
			if !yield(about, odd[about]) {
				return
			}
		}
	}
}

func bigTextsInOrder() iter.Seq[string] { return slices.Values(slices.Sorted(maps.Keys(bigTexts()))) }

func (z zone) namesInOrder() []string {
	names := slices.Collect(maps.Keys(z))
	slices.SortFunc(names, canonical)
	return slices.DeleteFunc(names, func(name string) bool { _, ok := dns.IsDomainName(name); return !ok })
}
