package sniff

import (
	"bytes"
	"strings"
)

// hostName returns b as a host name: lower-case, without trailing dot. It is
// empty if b is not one, and if b is an IP address.
func hostName(b []byte) string {
	b = bytes.TrimSuffix(b, []byte("."))
	if len(b) == 0 || len(b) > 253 { // RFC 1035, 2.3.4, without the root's byte and the first length
		return ""
	}
	label, digits := 0, 0
	for _, c := range b {
		switch {
		case c == '.' && label == 0:
			return ""
		case c == '.':
			label, digits = 0, 0
			continue
		case '0' <= c && c <= '9':
			digits++
		case !isNameByte(c):
			return ""
		}
		if label++; label > 63 {
			return ""
		}
	}
	// No top-level domain is a number (RFC 3696, 2); inet_aton reads such a
	// host as an IPv4 address, in whatever notation.
	if label == 0 || label == digits {
		return ""
	}
	return strings.ToLower(string(b))
}

// isNameByte reports whether c may be in a label, digits aside. The underscore
// is in no host name by RFC 952 and in many by use.
func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_'
}

// hostOf returns the host name of a host and an optional port.
func hostOf(b []byte) string {
	if i := bytes.LastIndexByte(b, ':'); i >= 0 {
		b = b[:i]
	}
	return hostName(b) // an IPv6 address has a bracket or a colon left
}
