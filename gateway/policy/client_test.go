package policy_test

import (
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestADeviceBelongsToTheFirstSectionThatMatches(t *testing.T) {
	p := household(t)
	tv := mac(t, "aa:bb:cc:dd:ee:ff")
	for _, tt := range []struct {
		sentence string
		device   policy.Device
		want     string
	}{
		{"nothing known is the default", policy.Device{}, "default"},
		{"a stranger is the default", policy.Device{Addr: addr("192.168.1.8"), MAC: mac(t, "02:00:00:00:00:01"), Hostname: "pc", Interface: "br-lan"}, "default"},
		{"by its Ethernet address", policy.Device{MAC: tv}, "tv"},
		{"by its name", policy.Device{Hostname: "appletv"}, "tv"},
		{"by its interface", policy.Device{Interface: "br-guest"}, "guest"},
		{"by its prefix", policy.Device{Addr: addr("192.168.2.200")}, "guest"},
		{"by its IPv6 prefix", policy.Device{Addr: addr("fd00:2::9")}, "guest"},
		{"by its single address", policy.Device{Addr: addr("192.168.1.7")}, "work"},
		{"by an address that is mapped", policy.Device{Addr: addr("::ffff:192.168.1.7")}, "work"},
		{"by the first section of two that match", policy.Device{Addr: addr("192.168.2.200"), MAC: tv}, "tv"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			if got := p.ClientName(p.Client(tt.device)); got != tt.want {
				t.Errorf("Client(%+v) is %s, want %s", tt.device, got, tt.want)
			}
		})
	}
}

func TestWhatIsUnknownOfADeviceMatchesNoSection(t *testing.T) {
	p := policy.New(policy.Config{Clients: []policy.Section{
		{Name: "zeros", MACs: []policy.MAC{{}}, Hostnames: []string{""}, Devices: []string{""}, Prefixes: prefixes("0.0.0.0/0", "::/0")},
	}})
	if got := p.Client(policy.Device{}); got != 0 {
		t.Errorf("Client(Device{}) = %d, want 0", got)
	}
}

func TestClientsHaveNamesAndModes(t *testing.T) {
	p := household(t)
	want := []struct {
		name string
		mode policy.Mode
	}{{"default", policy.FakeIP}, {"tv", policy.RealIP}, {"guest", policy.Off}, {"work", policy.FakeIP}}
	if got := p.Clients(); got != len(want) {
		t.Fatalf("Clients() = %d, want %d", got, len(want))
	}
	for i, w := range want {
		c, ok := p.ClientByName(w.name)
		if !ok || int(c) != i || p.ClientName(c) != w.name || p.Mode(c) != w.mode {
			t.Errorf("ClientByName(%q) = %d, %t, of name %q and mode %s, want %d, true, %q, %s", w.name, c, ok, p.ClientName(c), p.Mode(c), i, w.name, w.mode)
		}
	}
	if c, ok := p.ClientByName("nobody"); ok {
		t.Errorf("ClientByName(nobody) = %d, true, want false", c)
	}
}

func TestASectionMayBeCalledDefault(t *testing.T) {
	p := policy.New(policy.Config{Clients: []policy.Section{{Name: "default"}}})
	if c, ok := p.ClientByName("default"); c != 1 || !ok {
		t.Errorf("ClientByName(default) = %d, %t, want 1, true", c, ok)
	}
}

func TestWhatNoRuleMatchesLeavesByTheClientsOutboundOrTheDefault(t *testing.T) {
	p := policy.New(policy.Config{
		Default:   "node",
		Clients:   []policy.Section{{Name: "tv", Outbound: "reject"}, {Name: "pc"}},
		Outbounds: []policy.Outbound{{Name: "node", Kind: policy.Node}},
	})
	for c, want := range []string{"node", "reject", "node"} {
		if got := p.Rest(policy.Client(c)); got != want {
			t.Errorf("Rest(%d) = %q, want %q", c, got, want)
		}
	}
}
