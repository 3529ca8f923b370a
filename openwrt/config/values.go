package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// enumerate writes names as a list in a sentence.
func enumerate(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// parseAddr reads an address without a zone; one of IPv4 in IPv6 is one of IPv4.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is no address", s)
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone, which has no meaning here", s)
	}
	return a.Unmap(), nil
}

// parsePrefix reads an address or a prefix.
func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := parseAddr(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix", s)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no prefix", s)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if masked := p.Masked(); masked != p {
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length; the prefix is %s", s, masked)
	}
	return p, nil
}

// parseAddrPort reads address, address:port or [address]:port.
func parseAddrPort(port uint16) func(string) (netip.AddrPort, error) {
	return func(s string) (netip.AddrPort, error) {
		host, addr, err := parseHostPort(s, port)
		if err == nil && host != "" {
			err = fmt.Errorf("%q is no address", s)
		}
		return addr, err
	}
}

// parseHostPort reads the address or name of a server, and its port if it is
// not the usual one. An address comes back in addr and without host; a name as
// host, with an addr of which only the port is valid.
func parseHostPort(s string, port uint16) (host string, addr netip.AddrPort, err error) {
	host = s
	if _, err := netip.ParseAddr(s); err != nil { // not an IPv6 address without brackets
		if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
			n, err := option{min: 1, max: 65535}.parseNumber(s[i+1:])
			if err != nil {
				return "", netip.AddrPort{}, fmt.Errorf("reading the port of %q: %w", s, err)
			}
			host, port = s[:i], uint16(n)
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if !ok || !strings.Contains(host, ":") {
			return "", netip.AddrPort{}, fmt.Errorf("%q is neither an address nor a name", s)
		}
	}
	host, err = parseHost(host)
	if err != nil {
		return "", netip.AddrPort{}, err
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return "", netip.AddrPortFrom(a, port), nil
	}
	return host, netip.AddrPortFrom(netip.Addr{}, port), nil
}

// parseHost reads an address, or a name, which comes back in lower case and
// without the dot at its end.
func parseHost(s string) (string, error) {
	if strings.Contains(s, ":") || strings.Contains(s, "%") {
		a, err := parseAddr(s)
		return a.String(), err
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a.String(), nil
	}
	name, err := parseName(s)
	if err != nil {
		return "", fmt.Errorf("%q is neither an address nor a name", s)
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%q is neither an address nor a name", s) // no top-level domain is a number: RFC 3696, section 2
	}
	return name, nil
}

// parseName reads a host name: RFC 1123, section 2.1, and the underscore that
// real networks use.
func parseName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "" || len(name) > 253 { // RFC 1035, section 2.3.4, as text
		return "", fmt.Errorf("%q is no host name", s)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return "", fmt.Errorf("%q is no host name", s)
		}
	}
	return name, nil
}

// parseDomain reads a domain in which local names stand; a dot is none.
func parseDomain(s string) (string, error) {
	trimmed := strings.Trim(s, ".")
	if trimmed == "" {
		return "", nil
	}
	return parseName(trimmed)
}

// parseDevice reads the name of a network interface by the kernel's rule:
// dev_valid_name in net/core/dev.c.
func parseDevice(s string) (string, error) {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\v\f\r") {
		return "", fmt.Errorf("%q is no name of an interface", s)
	}
	return s, nil
}

// parseNetwork reads the name of an OpenWrt network, a UCI section.
func parseNetwork(s string) (string, error) {
	name, err := parseName(s)
	if err != nil || strings.ContainsAny(name, ".-") {
		return "", fmt.Errorf("%q is no name of an OpenWrt network; they are letters, digits and underscores", s)
	}
	return s, nil
}

func parsePath(s string) (string, error) {
	if !path.IsAbs(s) {
		return "", fmt.Errorf("%q does not begin with a slash", s)
	}
	return path.Clean(s), nil
}

// parseSocket reads the path of a unix socket, which the kernel bounds:
// sun_path in unix(7).
func parseSocket(s string) (string, error) {
	p, err := parsePath(s)
	if err == nil && len(p) > 107 {
		err = fmt.Errorf("%q is longer than the 107 bytes of a socket's path", s)
	}
	return p, err
}

func parseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is no http or https URL", s)
	}
	return s, nil
}

// parseSecret reads a user name or password of SOCKS5: RFC 1929, section 2.
func parseSecret(s string) (string, error) {
	if len(s) > 255 {
		return "", errors.New("it is longer than 255 bytes")
	}
	return s, nil
}
