package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// addLine takes one line of a rule set in any of the formats of ParseSet.
func (b *setBuilder) addLine(line string) error {
	if err := checkText(line); err != nil {
		return err
	}
	entry := entryOf(line)
	if entry == "" {
		return nil
	}
	if strings.HasPrefix(entry, "regexp:") { // may contain what tells the other formats
		return b.addPattern(entry)
	}
	if domains, ok := dnsmasqDomains(entry); ok {
		return b.addDomains(domains)
	}
	if rule, ok := strings.CutPrefix(entry, "||"); ok {
		return b.addAdblock(rule)
	}
	if kind, rest, ok := strings.Cut(entry, ","); ok {
		return b.addClash(kind, rest)
	}
	if strings.ContainsAny(entry, " \t") {
		return b.addHosts(strings.Fields(entry))
	}
	return b.addPlain(entry)
}

// checkText refuses what is no rule set at all: a captive portal's or a moved
// list's page, or a binary format.
func checkText(line string) error {
	if len(line) > maxLine {
		return errTooLong()
	}
	if strings.HasPrefix(strings.TrimLeft(line, " \t"), "<") {
		return errors.New("this is an HTML page, not a rule set")
	}
	for i := range len(line) {
		if line[i] < ' ' && line[i] != '\t' && line[i] != '\r' {
			return fmt.Errorf("byte %#02x: this is not text; rule sets in binary formats are not read", line[i])
		}
	}
	return nil
}

// entryOf is the line without comments, space and the marks of a YAML list;
// empty if nothing is left.
func entryOf(line string) string {
	s := strings.TrimSpace(line)
	if s == "" || s[0] == '#' || s[0] == '!' || s == "payload:" || strings.HasPrefix(s, "[Adblock") {
		return ""
	}
	if !strings.HasPrefix(s, "regexp:") {
		s = withoutComment(s)
	}
	if item, ok := strings.CutPrefix(s, "- "); ok {
		s = strings.TrimSpace(item)
	}
	for _, quote := range []string{`"`, `'`} {
		if len(s) >= 2 && strings.HasPrefix(s, quote) && strings.HasSuffix(s, quote) {
			s = s[1 : len(s)-1]
		}
	}
	return strings.TrimSpace(s)
}

// withoutComment cuts off a # behind space.
func withoutComment(s string) string {
	for i := 1; i < len(s); i++ {
		if s[i] == '#' && (s[i-1] == ' ' || s[i-1] == '\t') {
			return strings.TrimRight(s[:i], " \t")
		}
	}
	return s
}

// dnsmasqDomains are the domains of a line such as server=/a.example/b.example/192.0.2.1,
// of which the last part is not a domain.
func dnsmasqDomains(entry string) ([]string, bool) {
	option, value, ok := strings.Cut(entry, "=/")
	if !ok {
		return nil, false
	}
	switch option {
	case "server", "address", "local", "ipset", "nftset":
		parts := strings.Split(value, "/")
		return parts[:len(parts)-1], true
	}
	return nil, false
}

func (b *setBuilder) addDomains(domains []string) error {
	if len(domains) == 0 {
		return errors.New("the domain has no / behind it")
	}
	for _, d := range domains {
		if err := b.addPattern("domain:" + d); err != nil {
			return err
		}
	}
	return nil
}

// addAdblock takes what follows the || of an adblock rule: a domain and ^, the
// only rule that is about a domain and nothing else.
func (b *setBuilder) addAdblock(rule string) error {
	domain, ok := strings.CutSuffix(rule, "^")
	if !ok {
		return fmt.Errorf("%q: of adblock's rules only ||name^ is read", "||"+rule)
	}
	return b.addPattern("domain:" + domain)
}

// addClash takes a rule of a Clash rule provider. What follows the value, such
// as no-resolve, is not about what matches.
func (b *setBuilder) addClash(kind, rest string) error {
	value, _, _ := strings.Cut(rest, ",")
	value = strings.TrimSpace(value)
	switch kind {
	case "DOMAIN":
		return b.addPattern("full:" + value)
	case "DOMAIN-SUFFIX":
		return b.addPattern("domain:" + value)
	case "DOMAIN-KEYWORD":
		return b.addPattern("keyword:" + value)
	case "DOMAIN-REGEX":
		return b.addPattern("regexp:" + rest) // commas are its own
	case "IP-CIDR", "IP-CIDR6":
		return b.addPrefix(value)
	}
	return fmt.Errorf("%q: entries of this kind are not about names or addresses", kind)
}

// addHosts takes a line of a hosts file. Its names are listed one by one, so
// each stands for itself alone.
func (b *setBuilder) addHosts(fields []string) error {
	if _, err := netip.ParseAddr(fields[0]); err != nil {
		return fmt.Errorf("%q: one entry a line is expected, or an address and the names of a hosts file", strings.Join(fields, " "))
	}
	for _, name := range fields[1:] {
		if isAddress(name) {
			continue // "0.0.0.0 0.0.0.0" stands in many lists
		}
		if err := b.addPattern("full:" + name); err != nil {
			return err
		}
	}
	return nil
}

func (b *setBuilder) addPlain(entry string) error {
	if addr, _, _ := strings.Cut(entry, "/"); isAddress(addr) {
		return b.addPrefix(entry)
	}
	if name, ok := strings.CutPrefix(entry, "+."); ok { // Clash: with subdomains
		return b.addPattern("domain:" + name)
	}
	return b.addPattern(entry)
}
