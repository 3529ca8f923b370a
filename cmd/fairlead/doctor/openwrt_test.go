package doctor

import (
	"errors"
	"testing"
)

func TestServicesThatMeddleAreNamed(t *testing.T) {
	for _, tt := range []struct {
		service Service
		code    string // empty: none of our business
		want    Severity
	}{
		{Service{"nikki", true}, "rival-service", Error},
		{Service{"nikki", false}, "", ""},
		{Service{"podkop", false}, "rival-service", Error},
		{Service{"https-dns-proxy", true}, "dns-service", Note},
		{Service{"pbr", false}, "route-service", Note},
		{Service{"mwan3", true}, "route-service", Note},
		{Service{"sing-box", true}, "", ""},
		{Service{"dnsmasq", true}, "", ""},
		{Service{"fairlead", true}, "", ""},
	} {
		c := healthy(t)
		c.Services = func() ([]Service, error) { return []Service{tt.service}, nil }
		got := Examine(c)
		switch {
		case tt.code == "" && len(got) != 0:
			t.Errorf("%+v: found %+v, want nothing", tt.service, got)
		case tt.code != "" && (len(got) != 1 || got[0].Code != tt.code || got[0].Severity != tt.want):
			t.Errorf("%+v: found %+v, want one %s of severity %s", tt.service, got, tt.code, tt.want)
		}
	}
}

func TestServicesThatCannotBeListedAreNoFinding(t *testing.T) {
	c := healthy(t)
	c.Services = func() ([]Service, error) { return nil, errors.New("no bus") }
	if got := Examine(c); len(got) != 0 {
		t.Errorf("found %+v, want nothing", got)
	}
}

func TestDnsmasqOnAnotherPortIsNamed(t *testing.T) {
	for text, want := range map[string]bool{
		"config dnsmasq\n\toption domain 'lan'\n": false,
		"config dnsmasq\n\toption port '53'\n":    false,
		"config dnsmasq\n\toption port '0'\n":     true,
		"config dnsmasq\n\toption port '5353'\n":  true,
		"config odhcpd\n\toption port '547'\n":    false,
	} {
		c := healthy(t)
		set(t, c, "/etc/config/dhcp", text)
		got := Examine(c)
		if found := len(got) == 1 && got[0].Code == "dnsmasq-port"; found != want || len(got) > 1 {
			t.Errorf("%q: found %+v, want dnsmasq-port: %t", text, got, want)
		}
	}
}
