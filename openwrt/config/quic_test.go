//go:build quic && !tiny

package config

import "testing"

func TestQUICServersAreReadLikeOthers(t *testing.T) {
	for _, tt := range []struct{ text, scheme, host, addr, path string }{
		{"quic://192.0.2.1", "quic", "192.0.2.1", "192.0.2.1:853", ""},
		{"quic://[2001:db8::1]:784", "quic", "2001:db8::1", "[2001:db8::1]:784", ""},
		{"h3://One.example", "h3", "one.example", "invalid AddrPort", "/dns-query"},
		{"h3://192.0.2.1/x", "h3", "192.0.2.1", "192.0.2.1:443", "/x"},
	} {
		s, err := parseServer(tt.text)
		if err != nil || s.Scheme != tt.scheme || s.Host != tt.host || s.Addr.String() != tt.addr || s.Path != tt.path {
			t.Errorf("parseServer(%q) = %+v, %v, want %+v", tt.text, s, err, tt)
		}
	}
	if s, err := parseServer("quic://192.0.2.1/x"); err == nil {
		t.Errorf("a path over quic is taken: %+v", s)
	}
}
