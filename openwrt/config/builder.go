package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/openwrt/uci"
)

// builder is the state of making one Config from one file: what is declared,
// and what is wrong so far.
type builder struct {
	file     string
	open     Opener
	strict   bool
	schema   map[string][]option
	sections []*section                     // of known types and enabled, in order
	declared map[string]map[string]*section // by type and name, disabled ones too
	mistakes Mistakes
	warnings Mistakes
}

func newBuilder(file string, open Opener, strict bool) *builder {
	b := &builder{
		file:     file,
		open:     open,
		strict:   strict,
		schema:   make(map[string][]option),
		declared: make(map[string]map[string]*section),
	}
	for _, t := range schema() {
		b.schema[t.name] = t.options
		b.declared[t.name] = make(map[string]*section)
	}
	return b
}

// build fills every component's part. Mistakes leave holes in it.
func (b *builder) build() *Config {
	main, dns := b.single("fairlead", "main"), b.single("dns", "dns")
	cfg := main.daemon()
	cfg.DNS = dns.server(cfg.IPv6)

	local := dns.reference("local_upstream", "upstream")
	cfg.Upstreams = b.upstreams()
	cfg.Outbounds = b.outbounds(resolvesNodes(cfg.Upstreams, local), cfg.Router)
	cfg.Rulesets = b.rulesets()

	clients, networks := b.clients(dns.mode())
	cfg.ClientNetworks = networks
	cfg.Blocks = b.blocks(Blocks{DoT: dns.flag("block_dot"), DoH: dns.flag("block_doh")})
	cfg.Policy = policy.Config{
		Mode:           dns.mode(),
		Default:        main.reference("default", "outbound"),
		Sniff:          main.flag("sniff"),
		Clients:        clients,
		Rules:          b.rules(b.compile(cfg.Rulesets, cfg.CacheDir)),
		RealIP:         every(dns, "realip", policy.ParsePattern),
		Router:         cfg.Router,
		Outbounds:      policyOutbounds(cfg.Outbounds),
		LocalUpstream:  local,
		RemoteUpstream: dns.reference("remote_upstream", "upstream"),
	}
	return cfg
}

func (b *builder) syntax(unread []uci.Mistake) {
	for _, m := range unread {
		b.mistakes = append(b.mistakes, Mistake{File: b.file, Line: m.Line, Section: m.Section, What: m.What})
	}
}

// collect sorts out which sections count, and checks their names.
func (b *builder) collect(f *uci.File) {
	for _, u := range f.Sections {
		s := &section{Section: u, b: b, schema: b.schema[u.Type]}
		for _, line := range u.Again {
			s.warn("", line, "it was opened before, on line %d; both are taken as one section", u.Line)
		}
		if s.schema == nil {
			s.unknown("", u.Line, "there is no type of section %q%s", u.Type, Suggest(u.Type, slices.Collect(maps.Keys(b.schema))))
			continue
		}
		if slices.Contains(builtin(u.Type), u.Name) {
			s.mistake("", u.Line, "%s %q exists without being declared, and cannot be declared", u.Type, u.Name)
			continue
		}
		s.enabled = u.Type == "fairlead" || !s.disabled()
		if u.Name != "" {
			b.declared[u.Type][u.Name] = s
		}
		if s.enabled {
			s.checkName()
			s.checkOptions()
			b.sections = append(b.sections, s)
		}
	}
}

// of gives the enabled sections of a type, in order.
func (b *builder) of(typ string) []*section {
	var found []*section
	for _, s := range b.sections {
		if s.Type == typ {
			found = append(found, s)
		}
	}
	return found
}

// single gives the only section of a type, an empty one if it is absent.
func (b *builder) single(typ, name string) *section {
	found := b.of(typ)
	if len(found) == 0 {
		return &section{Section: &uci.Section{Type: typ, Name: name, Line: 1}, b: b, schema: b.schema[typ]}
	}
	for _, s := range found[1:] {
		s.mistake("", s.Line, "there is a section of type %s already, on line %d", typ, found[0].Line)
	}
	return found[0]
}

// reference makes the parser of an option that names a section, or one of
// those that exist without being declared.
func (b *builder) reference(typ string) func(string) (string, error) {
	return func(name string) (string, error) {
		if slices.Contains(builtin(typ), name) {
			return name, nil
		}
		s := b.declared[typ][name]
		if s == nil {
			names := slices.AppendSeq(builtin(typ), maps.Keys(b.declared[typ]))
			return "", fmt.Errorf("no %s %q is declared%s", typ, name, Suggest(name, names))
		}
		if !s.enabled {
			return "", fmt.Errorf("%s %q is disabled, on line %d", typ, name, s.lineOf("enabled"))
		}
		return name, nil
	}
}

// builtin names what exists of a type without being declared.
func builtin(typ string) []string {
	switch typ {
	case "outbound":
		return []string{"direct", "reject"}
	case "upstream":
		return []string{"auto"}
	}
	return nil
}
