package dhcp

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/openwrt/uci"
)

const example = `
config dnsmasq
	option domainneeded '1'
	option localise_queries '1'
	option rebind_localhost '1'
	option local '/lan/home.example/'
	option domain 'LAN'
	option expandhosts '1'
	option leasefile '/tmp/dhcp.leases'
	list rebind_domain 'corp.example'
	list rebind_domain '/a.example/b.example/'
	list addnhosts '/etc/more'

config dnsmasq 'guest'
	option local '/guest/'
	option domain 'guest'
	option leasefile '/tmp/guest.leases'

config dnsmasq 'off'
	option disabled '1'
	option local '/off/'

config odhcpd 'odhcpd'
	option leasefile '/tmp/hosts/odhcpd'

config host
	option name 'Printer'
	option mac '02:00:00:00:00:01 02:00:00:00:00:02'
	option ip '192.168.1.9'
	option dns '1'

config host
	option name 'tv'
	list mac '02:00:00:00:00:03'

config domain
	option name 'nas'
	option ip '192.168.1.5'

config hostrecord
	list name 'multi'
	list name 'multi.lan'
	list ip '10.0.0.1'
	list ip 'fd00::1'

config cname
	option cname 'files.lan'
	option target 'nas.lan'

config srvhost
	option srv '_ldap._tcp'
	option target 'nas.lan'
	option port '389'
	option class '1'
	option weight '2'

config mxhost
	option domain 'lan'
	option relay 'nas.lan'
	option pref '10'

config host
	option mac '02:00:00:00:00:04'
	option ip 'ignore'

config cname
	option cname 'half.lan'
`

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestWhatIsSaidOfNamesIsRead(t *testing.T) {
	want := Config{
		Instances: 2,
		Domain:    "lan", Local: []string{"lan", "home.example", "guest"}, Port: 53,
		ExpandHosts: true, DomainNeeded: true, BogusPriv: true, Localise: true,
		HostsFiles: []string{"/etc/more"}, LeaseFiles: []string{"/tmp/dhcp.leases", "/tmp/guest.leases"},
		GuestFiles:    []string{"/tmp/hosts/odhcpd"},
		RebindDomains: []string{"corp.example", "a.example", "b.example"}, RebindLocal: true,
		Records: []Host{{addr("10.0.0.1"), []string{"multi", "multi.lan"}}, {addr("fd00::1"), []string{"multi", "multi.lan"}}},
		Hosts:   []Host{{addr("192.168.1.9"), []string{"printer.lan"}}, {addr("192.168.1.5"), []string{"nas"}}},
		Devices: []Device{
			{[]policy.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}, "printer", addr("192.168.1.9")},
			{[]policy.MAC{{2, 0, 0, 0, 0, 3}}, "tv", netip.Addr{}},
		},
		Aliases: []Alias{{"files.lan", "nas.lan"}},
		Others: []Record{
			{Name: "_ldap._tcp.lan", Target: "nas.lan", Port: 389, Priority: 1, Weight: 2},
			{Name: "lan", Target: "nas.lan", Priority: 10},
		},
	}
	if got := Parse(example); !reflect.DeepEqual(got, want) {
		t.Errorf("Parse =\n%+v\nwant\n%+v", got, want)
	}
}

func TestDomainsWithAServerAreNotOurs(t *testing.T) {
	for text, want := range map[string][]string{
		"lan": {"lan"}, "/lan/": {"lan"}, "/a/b/": {"a", "b"}, "/lan/192.168.2.1": nil, "/#/": nil, "": nil, "//": nil,
	} {
		if got := domains(text); !reflect.DeepEqual(got, want) {
			t.Errorf("domains(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestAFileThatIsTooLongIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dhcp")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of no file gives %v, want %v", err, fs.ErrNotExist)
	}
	if err := os.WriteFile(path, make([]byte, uci.MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil {
		t.Error("Read takes a file of more than its bound")
	}
}

func FuzzParseTakesAnyFile(f *testing.F) {
	f.Add(example)
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range Parse(text).Aliases {
			if a.Name == "" || a.Target == "" {
				t.Errorf("an alias is %+v, want both names", a)
			}
		}
	})
}
