package policy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Set is a rule set: many names and addresses in little memory. It is
// immutable; several rules may share one.
type Set struct {
	names names
	addrs ranges
}

// The bounds of a rule set's text.
const (
	// maxLine is well above any entry: names have at most 253 bytes, and hosts
	// lines carry some of them.
	maxLine = 4 << 10

	// maxNames is what all names together may take in memory. It is far above
	// the largest public lists (30 MB) and keeps offsets within 32 bits.
	maxNames = 256 << 20
)

// ParseSet reads a rule set from text with one entry a line, told by its
// content: patterns as ParsePattern reads them, addresses and prefixes,
// lines of dnsmasq (server=/x/…, also address, local, ipset, nftset), of hosts
// files (the names alone, without subdomains), of adblock lists (||x^) and of
// Clash rule providers (DOMAIN-SUFFIX,x and the like, as YAML list items too).
// What follows # and lines that begin with ! are comments. The error names the
// line, counted from 1.
func ParseSet(r io.Reader) (*Set, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine+len("\ufeff\r\n")+1)

	var b setBuilder
	n := 0
	for lines.Scan() {
		n++
		line := lines.Text()
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if err := b.addLine(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d: %w", n+1, errTooLong())
	} else if err != nil {
		return nil, fmt.Errorf("reading behind line %d: %w", n, err)
	}

	b.addrs.merge()
	return &Set{names: b.names.build(), addrs: b.addrs}, nil
}

func errTooLong() error { return fmt.Errorf("is longer than %d bytes", maxLine) }

// MatchName says whether an entry of the set matches the name, which is
// lower-case and has no trailing dot.
func (s *Set) MatchName(name string) bool { return s.names.match(name) }

// MatchAddr says whether the address is in a prefix of the set.
func (s *Set) MatchAddr(addr netip.Addr) bool { return s.addrs.contain(addr) }

// HasNames says whether the set can match any name.
func (s *Set) HasNames() bool { return s.names.count() > 0 }

// HasAddrs says whether the set can match any address.
func (s *Set) HasAddrs() bool { return !s.addrs.empty() }

// setBuilder collects the entries of a rule set.
type setBuilder struct {
	names namesBuilder
	addrs ranges
}

func (b *setBuilder) addPattern(s string) error {
	p, err := ParsePattern(s)
	if err != nil {
		return err
	}
	b.names.add(p)
	if b.names.bytes() > maxNames {
		return fmt.Errorf("the names so far take more than %d bytes", maxNames)
	}
	return nil
}

// addPrefix takes an address or a prefix. Host bits are dropped: public lists
// are full of them.
func (b *setBuilder) addPrefix(s string) error {
	if addr, err := netip.ParseAddr(s); err == nil {
		b.addrs.add(netip.PrefixFrom(addr.WithZone(""), addr.BitLen()))
		return nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return err
	}
	b.addrs.add(p)
	return nil
}
