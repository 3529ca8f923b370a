package config

import (
	"slices"
	"strings"
)

// references checks what can only be seen when everything is read: that an
// upstream exists for every name, and that nothing needs itself.
func (b *builder) references(cfg *Config) {
	if !slices.ContainsFunc(b.of("dns"), func(s *section) bool { return s.has("remote_upstream") }) {
		b.checkRemote(cfg)
	}
	b.checkCircles(cfg.Policy.LocalUpstream)
}

// checkRemote reports the first place that needs dns.remote_upstream.
func (b *builder) checkRemote(cfg *Config) {
	dependent := make(map[string]bool)
	for _, s := range b.of("outbound") {
		dependent[s.Name] = !s.has("upstream")
	}
	for _, s := range b.sections {
		option := ""
		switch s.Type {
		case "fairlead":
			option = "default"
		case "client", "rule":
			option = "outbound"
		default:
			continue
		}
		if name := s.text(option); dependent[name] {
			s.mistake(option, s.lineOf(option), "names that leave by %q need dns.remote_upstream, or option upstream of that outbound", name)
			return
		}
	}
	for i, s := range b.of("rule") {
		r := cfg.Policy.Rules[i]
		if r.Resolve && hasAddrs(r) {
			s.mistake("resolve", s.lineOf("resolve"), "addresses are asked of dns.remote_upstream, which is missing")
			return
		}
		if mixes(cfg.Policy, i) {
			s.mistake("", s.Line, "names stay open until the %s of a flow is known, and such names need dns.remote_upstream", unknown(r))
			return
		}
	}
}

// need is one thing that cannot work without another.
type need struct {
	on     *section
	option string // of the section that needs it
}

// checkCircles reports upstreams and outbounds that need each other in a circle.
func (b *builder) checkCircles(local string) {
	done := make(map[*section]bool)
	for _, s := range append(b.of("upstream"), b.of("outbound")...) {
		b.walk(s, nil, done, local)
	}
}

// walk follows what a section needs, depth first; path is what led to it.
func (b *builder) walk(s *section, path []*section, done map[*section]bool, local string) {
	if i := slices.Index(path, s); i >= 0 {
		b.reportCircle(path[i:], local)
		return
	}
	if done[s] {
		return
	}
	path = append(path, s)
	for _, n := range b.needs(s, local) {
		b.walk(n.on, path, done, local)
	}
	done[s] = true
}

// reportCircle reports a circle at the section that comes first in the file.
func (b *builder) reportCircle(circle []*section, local string) {
	first := slices.MinFunc(circle, func(x, y *section) int { return x.Line - y.Line })
	i := slices.Index(circle, first)
	circle = slices.Concat(circle[i:], circle[:i], circle[i:i+1])

	var names []string
	for _, s := range circle {
		names = append(names, s.Type+" "+s.Name)
	}
	option := ""
	for _, n := range b.needs(first, local) {
		if n.on == circle[1] {
			option = n.option
		}
	}
	first.mistake(option, first.lineOf(option), "these need each other in a circle: %s", strings.Join(names, " -> "))
}

// needs says what must work before a section can: an upstream's outbound, a
// group's members, and the local upstream where it resolves a node's name.
func (b *builder) needs(s *section, local string) []need {
	var all []need
	add := func(typ, name, option string) {
		if on := b.declared[typ][name]; on != nil && on.enabled {
			all = append(all, need{on, option})
		}
	}
	if s.Type == "upstream" {
		add("outbound", s.text("outbound"), "outbound")
		return all
	}
	if isName(s.text("server")) && !s.has("bootstrap") {
		add("upstream", local, "server")
	}
	if o := s.Option("member"); o != nil {
		for _, v := range o.Values {
			add("outbound", v.Text, "member")
		}
	}
	return all
}
