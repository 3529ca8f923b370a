package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
)

func (b *builder) upstreams() []upstream.Config {
	var all []upstream.Config
	for _, s := range b.of("upstream") {
		all = append(all, s.upstream())
	}
	return all
}

func (s *section) upstream() upstream.Config {
	s.need("server")
	u := upstream.Config{
		Name:      s.Name,
		Servers:   every(s, "server", parseServer),
		Outbound:  s.reference("outbound", "outbound"),
		Bootstrap: every(s, "bootstrap", parseAddrPort(53)),
	}
	if u.Outbound == "reject" {
		s.mistake("outbound", s.lineOf("outbound"), "outbound reject would refuse every question")
	}
	for _, server := range u.Servers {
		if server.Host != "" && !server.Addr.Addr().IsValid() && !s.has("bootstrap") {
			s.mistake("server", s.lineOf("server"), "%q is a name: it needs list bootstrap, the servers that resolve it", server.Host)
		}
	}
	return u
}

// parseServer reads `auto`, or a server with or without its scheme.
func parseServer(text string) (upstream.Server, error) {
	if text == "auto" {
		return upstream.Server{Scheme: "auto"}, nil
	}
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "udp", text
	}
	scheme = strings.ToLower(scheme)
	port, err := usualPort(scheme)
	if err != nil {
		return upstream.Server{}, err
	}
	authority, path, hasPath := strings.Cut(rest, "/")
	web := scheme == "https" || upstream.HasQUIC && scheme == "h3"
	if hasPath && !web {
		return upstream.Server{}, fmt.Errorf("%q has a path, which only https has", text)
	}
	host, addr, err := parseHostPort(authority, port)
	if err != nil {
		return upstream.Server{}, err
	}
	server := upstream.Server{Scheme: scheme, Host: host, Addr: addr}
	if web {
		server.Path, err = parseDoHPath(path)
	}
	if host == "" && scheme != "udp" && scheme != "tcp" {
		server.Host = addr.Addr().String() // what the certificate must be for: RFC 8310, section 8.1
	}
	return server, err
}

// usualPort is the port of a scheme: RFC 1035, 7858, 8484 and 9250.
func usualPort(scheme string) (uint16, error) {
	switch scheme {
	case "udp", "tcp":
		return 53, nil
	case "tls":
		return 853, nil
	case "https":
		if !upstream.HasHTTPS {
			return 0, errors.New("this build has no HTTPS, so no servers of scheme https: take tls, or install the package fairlead in place of fairlead-tiny")
		}
		return 443, nil
	case "quic", "h3":
		switch {
		case !upstream.HasQUIC:
			return 0, fmt.Errorf("this build has no QUIC, so no servers of scheme %s", scheme)
		case scheme == "h3":
			return 443, nil
		}
		return 853, nil
	}
	return 0, fmt.Errorf("there is no scheme %q%s", scheme, Suggest(scheme, []string{"udp", "tcp", "tls", "https"}))
}

// parseDoHPath reads what follows the slash; nothing is the path that every
// public resolver has, RFC 8484, section 4.1.1.
func parseDoHPath(s string) (string, error) {
	if strings.ContainsAny(s, "{} #\t\n") {
		return "", errors.New("the path is taken as it is: it cannot hold a template, a fragment or spaces")
	}
	if _, err := url.Parse("/" + s); err != nil {
		return "", fmt.Errorf("the path holds what no URL can: %w", errors.Unwrap(err))
	}
	if s == "" {
		s = "dns-query"
	}
	return "/" + s, nil
}

// resolvesNodes says whether an upstream has servers that can be asked for a
// node's name, directly and in the clear: the WAN's own are.
func resolvesNodes(all []upstream.Config, name string) bool {
	i := slices.IndexFunc(all, func(u upstream.Config) bool { return u.Name == name })
	if i < 0 {
		return true // auto, or a mistake that is reported already
	}
	return slices.ContainsFunc(all[i].Servers, func(s upstream.Server) bool {
		return s.Scheme == "auto" || s.IsBootstrap()
	})
}
