package firewall

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/openwrt/uci"
)

// reader reads the options of a section by fw4's rules (fw4.uc, parse_options).
// A value that fw4 would not take spoils the section.
type reader struct {
	section *uci.Section
	bad     bool
	unseen  []string // conditions that are understood, and cannot be looked at here
}

// text is the value of an option; fw4 takes no list for one.
func (r *reader) text(name string) string {
	o := r.section.Option(name)
	switch {
	case o == nil:
		return ""
	case o.List:
		r.bad = true
		return ""
	}
	return strings.TrimSpace(o.Values[0].Text)
}

// words are the values of a list; an option may hold several.
func (r *reader) words(name string) []string {
	o := r.section.Option(name)
	if o == nil {
		return nil
	}
	var words []string
	for _, v := range o.Values {
		if o.List {
			words = append(words, strings.TrimSpace(v.Text))
			continue
		}
		words = append(words, strings.Fields(v.Text)...)
	}
	return words
}

func (r *reader) enabled() bool { return r.flag("enabled", true) }

func (r *reader) flag(name string, otherwise bool) bool {
	switch r.text(name) {
	case "":
		return otherwise
	case "1", "on", "true", "yes":
		return true
	case "0", "off", "false", "no":
		return false
	}
	r.bad = true
	return otherwise
}

func (r *reader) policy(name string, otherwise verdict) verdict {
	switch text := r.text(name); {
	case text == "":
		return otherwise
	case abbreviates(text, "accept"):
		return accept
	case abbreviates(text, "reject"), abbreviates(text, "drop"):
		return refuse
	}
	r.bad = true
	return otherwise
}

// abbreviates tells whether a value means a word: fw4 takes any beginning of one.
func abbreviates(text, word string) bool {
	return text != "" && strings.HasPrefix(word, strings.ToLower(text))
}

// family is that of option family, 0 for both.
func (r *reader) family() uint8 {
	switch text := r.text("family"); {
	case text == "", text == "any", text == "all", text == "*":
		return 0
	case text == "inet", strings.Contains(text, "4"):
		return 4
	case strings.Contains(text, "6"):
		return 6
	}
	r.bad = true
	return 0
}

// negated takes the exclamation mark off a value.
func negated(word string) (rest string, not bool) {
	rest, not = strings.CutPrefix(strings.TrimSpace(word), "!")
	return strings.TrimSpace(rest), not
}

// put adds a value to either side of a choice.
func put[T any](c *nft.Choice[T], not bool, values ...T) {
	if not {
		c.Not = append(c.Not, values...)
	} else {
		c.Of = append(c.Of, values...)
	}
}

// addresses reads a list of addresses, prefixes and ranges. One that cannot be
// expressed by prefixes leaves the whole list unseen: part of it would mean
// something else.
func (r *reader) addresses(name string) (c nft.Choice[netip.Prefix]) {
	for _, word := range r.words(name) {
		text, not := negated(word)
		prefixes, ok := addresses(text)
		if !ok {
			r.unseen = append(r.unseen, name+" "+text)
			return nft.Choice[netip.Prefix]{}
		}
		put(&c, not, prefixes...)
	}
	return c
}

// choice reads a list of values, each of which may be excluded.
func choice[T any](r *reader, name string, parse func(string) (T, bool)) (c nft.Choice[T]) {
	for _, word := range r.words(name) {
		text, not := negated(word)
		value, ok := parse(text)
		r.bad = r.bad || !ok
		put(&c, not, value)
	}
	return c
}

func (r *reader) ports(name string) nft.Choice[policy.PortRange] { return choice(r, name, portRange) }

// portRange reads `80`, `80-90` and `80:90`.
func portRange(text string) (policy.PortRange, bool) {
	low, high, two := strings.Cut(strings.Replace(text, ":", "-", 1), "-")
	if !two {
		high = low
	}
	a, err1 := strconv.ParseUint(low, 10, 16)
	b, err2 := strconv.ParseUint(high, 10, 16)
	return policy.PortRange{First: uint16(a), Last: uint16(b)}, err1 == nil && err2 == nil && a <= b
}

func (r *reader) macs(name string) nft.Choice[policy.MAC] { return choice(r, name, parseMAC) }

// parseMAC reads six numbers of one or two digits, with colons or hyphens.
func parseMAC(text string) (mac policy.MAC, ok bool) {
	parts := strings.Split(strings.ReplaceAll(text, "-", ":"), ":")
	if len(parts) != len(mac) {
		return mac, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) > 2 {
			return mac, false
		}
		mac[i] = byte(n)
	}
	return mac, true
}
