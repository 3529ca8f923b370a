package sniff

import (
	"strings"
	"testing"
)

func TestHostNames(t *testing.T) {
	label := strings.Repeat("x", 63)
	long := strings.Repeat("x.", 126) + "y" // 253 bytes
	tests := []struct{ in, want string }{
		{"example.com", "example.com"},
		{"EXAMPLE.com.", "example.com"},
		{"localhost", "localhost"},
		{"_dmarc.a-b.example", "_dmarc.a-b.example"},
		{"r1---sn.example", "r1---sn.example"},
		{"1.2.3.example", "1.2.3.example"},
		{"1e100.net", "1e100.net"},
		{label + ".example", label + ".example"},
		{long, long},
		{long + ".", long},
		{"x" + long, ""},
		{label + "x.example", ""},
		{"", ""},
		{".", ""},
		{"..", ""},
		{".example", ""},
		{"a..example", ""},
		{"example..", ""},
		{"192.0.2.1", ""},
		{"127.1", ""},
		{"2130706433", ""},
		{"a.1", ""},
		{"2001:db8::1", ""},
		{"[2001:db8::1]", ""},
		{"fe80::1%eth0", ""},
		{"bücher.example", ""},
		{"a b.example", ""},
		{"a\x00.example", ""},
		{"*.example", ""},
	}
	for _, tt := range tests {
		if got := hostName([]byte(tt.in)); got != tt.want {
			t.Errorf("hostName(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
