package policy

import "net/netip"

// Names counts the patterns of names, without those that another one covers.
func (s *Set) Names() int { return s.names.count() }

// Prefixes are the addresses of the set as the fewest prefixes that hold them:
// in order, without overlaps, IPv4 first.
func (s *Set) Prefixes() []netip.Prefix { return s.addrs.prefixes() }
