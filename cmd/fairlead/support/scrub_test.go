package support

import "testing"

func TestPrivateThingsAreTakenOutOfALine(t *testing.T) {
	s := NewScrubber([]string{"annas-phone", "hunter2", "phone", "ab", "it's (me)"})
	for _, tt := range []struct{ name, line, want string }{
		{"private words, whatever their case", "lease of Annas-Phone.lan: hunter2, phone", "lease of [removed].lan: [removed], [removed]"},
		{"words that are no pattern", "it's (me)!", "[removed]!"},
		{"but no parts of others", "phones and headphone, abc hunter22", "phones and headphone, abc hunter22"},
		{"and none that are too short", "ab", "ab"},
		{"public addresses", "from 203.0.113.80:1080, [2a00:1450::200e]:443 and 2a00:1450:4001::/48:", "from [IPv4 address]:1080, [[IPv6 address]]:443 and [IPv6 address]/48:"},
		{"addresses made of hardware addresses", "fe80::211:22ff:fe33:4455 fd00::1234:5678:9abc:def0", "[IPv6 address] [IPv6 address]"},
		{"but not those of every house", "192.168.1.1/24 198.18.0.0/15 127.0.0.1:53 fe80::/10 2001:2::/64 ::1 fd00::1 0.0.0.0", "192.168.1.1/24 198.18.0.0/15 127.0.0.1:53 fe80::/10 2001:2::/64 ::1 fd00::1 0.0.0.0"},
		{"the device's half of a hardware address", "00:11:22:33:44:55 is a4-5e-60-11-22-33", "00:11:22:xx:xx:xx is a4-5e-60:xx:xx:xx"},
		{"all of one that a device made up", "02:11:22:33:44:55 is DE:AD:BE:EF:00:01", "[random MAC] is [random MAC]"},
		{"nothing of times, versions and numbers", "time=2026-11-23T10:00:01.123Z v1.26.5 0x1000000 10:20", "time=2026-11-23T10:00:01.123Z v1.26.5 0x1000000 10:20"},
	} {
		if got := s.Line(tt.line); got != tt.want {
			t.Errorf("%s: %q became %q, want %q", tt.name, tt.line, got, tt.want)
		}
	}
}
