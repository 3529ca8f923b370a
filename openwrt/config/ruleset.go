package config

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
)

func (b *builder) rulesets() []Ruleset {
	var all []Ruleset
	for _, s := range b.of("ruleset") {
		all = append(all, s.ruleset())
	}
	return all
}

func (s *section) ruleset() Ruleset {
	switch {
	case !s.has("path") && !s.has("url"):
		s.mistake("", s.Line, "it needs option path or option url")
	case s.has("path") && s.has("url"):
		s.mistake("url", s.lineOf("url"), "it is either fetched or read from a path, not both")
	}
	for _, name := range []string{"outbound", "interval", "category"} {
		if s.has(name) {
			s.warn(name, s.lineOf(name), "it has no effect yet: this version does not fetch rule sets, and reads all of a file")
		}
	}
	return Ruleset{
		Name:     s.Name,
		Path:     one(s, "path", parsePath),
		URL:      one(s, "url", parseURL),
		Outbound: s.reference("outbound", "outbound"),
		Interval: s.seconds("interval"),
		Category: s.text("category"),
	}
}

// compile reads the rule sets that rules use: a list of a hundred thousand
// names that nothing uses should cost nothing.
func (b *builder) compile(all []Ruleset, cacheDir string) map[string]*policy.Set {
	used := make(map[string]bool)
	for _, s := range b.of("rule") {
		if o := s.Option("ruleset"); o != nil {
			for _, v := range o.Values {
				used[v.Text] = true
			}
		}
	}
	sets := make(map[string]*policy.Set)
	for _, r := range all {
		if used[r.Name] && (r.Path != "" || r.URL != "") {
			sets[r.Name] = b.declared["ruleset"][r.Name].compile(r, cacheDir)
		}
	}
	return sets
}

// compile reads one rule set from its path, or from the copy of what was
// fetched; empty if nothing was fetched yet, so that the rest can start.
func (s *section) compile(r Ruleset, cacheDir string) *policy.Set {
	option, path := "path", r.Path
	if path == "" {
		option, path = "url", filepath.Join(cacheDir, "ruleset-"+r.Name)
	}
	f, err := s.b.open(path)
	if option == "url" && errors.Is(err, fs.ErrNotExist) {
		s.warn(option, s.lineOf(option), "it has not been fetched yet: rules match nothing by it")
		f, err = io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		s.mistake(option, s.lineOf(option), "opening ruleset %s: %w", r.Name, err)
		return nil
	}
	defer f.Close()
	set, err := policy.ParseSet(f)
	if err != nil {
		s.mistake(option, s.lineOf(option), "opening ruleset %s: %w", r.Name, err)
	}
	return set
}
