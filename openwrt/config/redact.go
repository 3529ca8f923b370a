package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/openwrt/uci"
)

// removed stands in place of what is hidden.
const removed = "[removed]"

// Redaction is a configuration file as it may be shown to others: what is wrong
// with a router can be seen, and neither secrets nor what a household does. Names
// of sections are shown.
type Redaction struct {
	Text   string   // the file without comments and without what is hidden
	Hidden []string // the values that are not in Text

	public map[string]bool        // words that may be quoted: names of sections and options, choices
	hidden map[[2]string][]string // by section and option
}

// Redact reads the configuration file at path, mistakes in it or not.
func Redact(path string) (Redaction, error) {
	text, err := readFile(path)
	if err != nil {
		return Redaction{}, err
	}
	file, _ := uci.Parse(text)
	migrate(file, renames())
	return redact(file), nil
}

func redact(f *uci.File) Redaction {
	r := Redaction{public: map[string]bool{"auto": true, "direct": true, "reject": true}, hidden: map[[2]string][]string{}}
	known := newBuilder("", nil, true).schema
	for typ, options := range known {
		r.public[typ] = true
		for _, o := range options {
			r.publish(o)
		}
	}
	declared := map[[2]string]bool{}
	for _, s := range f.Sections {
		if known[s.Type] != nil {
			declared[[2]string{s.Type, s.Name}] = true
			r.public[s.Title()], r.public[s.Name] = true, true
		}
	}
	shown := uci.File{}
	for _, s := range f.Sections {
		shown.Sections = append(shown.Sections, r.section(s, known[s.Type], declared))
	}
	r.Text = shown.String()
	return r
}

func (r *Redaction) publish(o option) {
	r.public[o.name] = true
	for _, c := range o.choices {
		r.public[c] = true
	}
}

// section is a section with what may be shown of it.
func (r *Redaction) section(s *uci.Section, known []option, declared map[[2]string]bool) *uci.Section {
	shown := &uci.Section{Type: s.Type, Name: s.Name}
	if known == nil {
		shown.Type, shown.Name = "unknown", ""
	}
	for _, o := range s.Options {
		i := slices.IndexFunc(known, func(k option) bool { return k.name == o.Name })
		values := make([]uci.Value, len(o.Values))
		for j, v := range o.Values {
			values[j] = v
			if i < 0 || !shows(known[i], v.Text, declared) {
				values[j].Text = outline(v.Text)
				r.Hidden = append(r.Hidden, v.Text)
				at := [2]string{s.Title(), o.Name}
				r.hidden[at] = append(r.hidden[at], v.Text)
			}
		}
		shown.Options = append(shown.Options, &uci.Option{Name: o.Name, List: o.List, Values: values})
	}
	return shown
}

// shows says whether others may see a value. All is hidden but what is listed
// here, and a value that is not of its option's kind is hidden, too: somebody may
// have pasted a password into the wrong line.
func shows(o option, value string, declared map[[2]string]bool) bool {
	var err error
	switch {
	case value == o.def:
	case o.max > 0:
		_, err = o.parseNumber(value)
	case len(o.choices) > 0:
		_, err = o.parseChoice(value)
	case o.values == booleans:
		_, err = parseBool(value)
	case o.values == "OpenWrt network":
		_, err = parseNetwork(value)
	case o.values == "Linux interface":
		_, err = parseDevice(value)
	case strings.HasPrefix(o.values, "IPv4 prefix"):
		_, err = parseFake4(value)
	case strings.HasPrefix(o.values, "IPv6 prefix"):
		_, err = parseFake6(value)
	case o.values == "port or range":
		_, err = policy.ParsePorts(value)
	default:
		typ, _, _ := strings.Cut(o.values, " ") // `client section` names a client
		return declared[[2]string{typ, value}] || slices.Contains(builtin(typ), value) || o.values == "server" && value == "auto"
	}
	return err == nil
}

// outline says of a hidden value what helps and tells nothing: the scheme of a
// server, and whether it is given by address.
func outline(value string) string {
	scheme, rest, found := strings.Cut(value, "://")
	if !found || !slices.Contains([]string{"udp", "tcp", "tls", "https", "http", "quic", "h3"}, scheme) {
		scheme, rest = "", value
	} else {
		scheme += "://"
	}
	switch addr, err := netip.ParseAddr(strings.Trim(rest, "[]")); {
	case err != nil:
		return scheme + removed
	case addr.Is4():
		return scheme + "[IPv4 address]"
	}
	return scheme + "[IPv6 address]"
}

// Line is a mistake or a warning without the values that it quotes.
func (r Redaction) Line(m Mistake) string {
	if !r.public[m.Section] {
		m.Section = ""
	}
	m.What = quoted().ReplaceAllStringFunc(m.What, func(q string) string {
		if r.public[q[1:len(q)-1]] {
			return q
		}
		return removed
	})
	for _, value := range r.hidden[[2]string{m.Section, m.Option}] {
		for _, part := range append(strings.FieldsFunc(value, punctuation), value) {
			if len(part) > 2 && part != "removed" {
				m.What = word(part).ReplaceAllLiteralString(m.What, removed)
			}
		}
	}
	return m.String()
}

// quoted are the ways in which messages quote a value.
func quoted() *regexp.Regexp { return regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`") }

// word finds a part of a value where it stands by itself, as messages change it.
func word(part string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(part) + `\b`)
}

// punctuation separates the parts of a name, an address or a URL.
func punctuation(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) }
