package support

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// shortest is the length from which on a private word is looked for in text that
// should not have it anyway: shorter ones occur in anything.
const shortest = 4

// Scrubber takes out of text what is known to be private. It is the second line of
// defence: what goes into a report is chosen before.
type Scrubber struct {
	words    *regexp.Regexp // nil: none
	v4, v6   *regexp.Regexp
	hardware *regexp.Regexp
}

// NewScrubber is for words such as passwords, names of devices, names of sites.
func NewScrubber(private []string) *Scrubber {
	s := &Scrubber{
		v4:       regexp.MustCompile(`\d{1,3}(\.\d{1,3}){3}`),
		v6:       regexp.MustCompile(`[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*`),
		hardware: regexp.MustCompile(`(?i)\b[0-9a-f]{2}([:-][0-9a-f]{2}){5}\b`),
	}
	var words []string
	for _, w := range private {
		if len(w) >= shortest {
			words = append(words, regexp.QuoteMeta(w))
		}
	}
	if len(words) > 0 {
		slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) }) // the longer one first: it may hold another
		s.words = regexp.MustCompile("(?i)" + strings.Join(slices.Compact(words), "|"))
	}
	return s
}

// Line is a line without private words, hardware addresses and addresses by which
// somebody could be found.
func (s *Scrubber) Line(line string) string {
	line = s.hardware.ReplaceAllStringFunc(line, vendor)
	if s.words != nil {
		line = s.replaceWords(line)
	}
	line = s.v4.ReplaceAllStringFunc(line, anonymous)
	return s.v6.ReplaceAllStringFunc(line, anonymous)
}

// replaceWords leaves alone what is only a part of a longer word.
func (s *Scrubber) replaceWords(line string) string {
	var b strings.Builder
	from := 0
	for _, at := range s.words.FindAllStringIndex(line, -1) {
		if at[0] > 0 && isWord(line[at[0]-1]) || at[1] < len(line) && isWord(line[at[1]]) {
			continue
		}
		b.WriteString(line[from:at[0]] + "[removed]")
		from = at[1]
	}
	return b.String() + line[from:]
}

func isWord(c byte) bool {
	return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// vendor is a hardware address without the half that tells devices of one vendor
// apart. One that a device made up itself (IEEE 802, bit 1 of the first byte) has
// no vendor.
func vendor(mac string) string {
	if strings.ContainsRune("2367abefABEF", rune(mac[1])) {
		return "[random MAC]"
	}
	return mac[:8] + ":xx:xx:xx"
}

// anonymous hides an address by which somebody could be found: a public one, and
// one whose lower half a device made of its hardware address (RFC 4291, appendix A).
// A colon before or behind it may belong to the sentence.
func anonymous(text string) string {
	for _, part := range []string{text, strings.TrimPrefix(text, ":"), strings.TrimSuffix(text, ":"), strings.Trim(text, ":")} {
		addr, err := netip.ParseAddr(part)
		switch {
		case err != nil || !findable(addr):
		case addr.Is4():
			return "[IPv4 address]"
		default:
			return "[IPv6 address]"
		}
	}
	return text
}

// findable says whether an address tells one household or device from others.
func findable(a netip.Addr) bool {
	if a.Is4() {
		return !slices.ContainsFunc(everyones(), func(p netip.Prefix) bool { return p.Contains(a) })
	}
	wide := a.As16()
	small := [6]byte(wide[8:14]) == [6]byte{} // a network, or a host with a small number
	return !small || !slices.ContainsFunc(everyones(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// everyones are the ranges that any number of households use alike (the IANA
// registries of special-purpose addresses).
func everyones() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
		"198.18.0.0/15", "224.0.0.0/3", "::/96", "64:ff9b::/96", "2001:2::/48", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}
