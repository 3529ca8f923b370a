package firewall

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/openwrt/uci"
)

func TestInDoubtOnlyTheDevicesOfARuleAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, options, want string }{
		{"a device, at a set of addresses", "\toption src_mac '02:00:00:00:77:01'\n\toption ipset 'blocked dest'\n\toption target 'REJECT'\n", "refuse mac {[02:00:00:00:77:01] []}"},
		{"a device, at a rate", "\toption src_ip '192.168.77.9'\n\toption limit '5/minute'\n\toption target 'DROP'\n", "refuse from {[192.168.77.9/32] []}"},
		{"a device, at addresses of a network", "\toption src_mac '02:00:00:00:77:01'\n\toption dest_ip 'office'\n\toption target 'DROP'\n", "refuse mac {[02:00:00:00:77:01] []}"},
		{"a whole zone, at a set of addresses", "\toption ipset 'blocked dest'\n\toption target 'REJECT'\n", ""},
		{"all but a device, by a mark", "\toption src_mac '!02:00:00:00:77:01'\n\toption mark '0x10'\n\toption target 'REJECT'\n", ""},
		{"addresses with a mask that has holes", "\toption src_ip '::9/::ffff'\n\toption target 'REJECT'\n", ""},
		{"all but a protocol", "\toption proto '!udp'\n\toption target 'REJECT'\n", ""},
		{"an interface", "\toption device 'br-lan'\n\toption target 'REJECT'\n", ""},
	} {
		f := Parse(usual+"config rule 'odd'\n\toption src 'lan'\n\toption dest 'wan'\n"+tt.options, "")
		if got, _ := judged(f, place(), "br-lan", noon()); got != tt.want {
			t.Errorf("a rule that refuses %s: flows are judged by %q, want %q", tt.name, got, tt.want)
		}
		effect := "fairlead takes no notice of it"
		if tt.want != "" {
			effect = "fairlead refuses its devices"
		}
		if got := f.Unseen(place()); len(got) != 1 || !strings.Contains(got[0], `"odd"`) || !strings.Contains(got[0], effect) {
			t.Errorf("a rule that refuses %s: Unseen = %q, want one finding that says %q", tt.name, got, effect)
		}
	}
}

func TestARuleThatAcceptsInDoubtIsNotTaken(t *testing.T) {
	f := Parse(strings.Replace(usual, "\toption src 'lan'\n\toption dest 'wan'\n", "\toption src 'lan'\n\toption dest 'guest'\n", 1)+
		"config rule\n\toption src 'lan'\n\toption dest 'wan'\n\toption ipset 'allowed dest'\n\toption target 'ACCEPT'\n", "")
	if got, _ := judged(f, place(), "br-lan", noon()); got != "refuse" {
		t.Errorf("flows are judged by %q, want refuse", got)
	}
}

func TestWhatDoesNotHoldExactlyIsSaid(t *testing.T) {
	rule := "config rule 'odd'\n\toption src 'lan'\n\toption dest 'wan'\n\toption target 'REJECT'\n"
	for _, tt := range []struct{ name, config, want string }{
		{"a day of the month", rule + "\toption monthdays '1'\n", "monthdays"},
		{"a time in UTC", rule + "\toption utc_time '1'\n", "utc_time"},
		{"nft code", "config include\n\toption type 'nftables'\n\toption path '/etc/more.nft'\n", "/etc/more.nft"},
		{"a zone by addresses", "config zone\n\toption name 'some'\n\toption subnet '10.0.0.0/8'\n", "subnet"},
		{"a zone by what it is not", "config zone\n\toption name 'some'\n\tlist device '!eth0'\n", "excludes"},
	} {
		if got := Parse(usual+tt.config, "").Unseen(place()); len(got) != 1 || !strings.Contains(got[0], tt.want) {
			t.Errorf("%s: Unseen = %q, want one finding about %s", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct{ name, config string }{
		{"a script", "config include\n\toption path '/etc/firewall.user'\n"},
		{"nft code that is disabled", "config include\n\toption type 'nftables'\n\toption path '/x'\n\toption enabled '0'\n"},
		{"a rule about another zone", "config rule\n\toption src 'wan'\n\toption dest 'lan'\n\toption limit '1/second'\n\toption target 'REJECT'\n"},
	} {
		if got := Parse(usual+tt.config, "").Unseen(place()); len(got) != 0 {
			t.Errorf("%s: Unseen = %q, want nothing", tt.name, got)
		}
	}
}

func TestAnInterfaceOfNoZoneIsNamed(t *testing.T) {
	p := place()
	p.Served = append(p.Served, "br-iot")
	f := Parse(usual, "")
	if got := f.Unseen(p); len(got) != 1 || !strings.Contains(got[0], "br-iot") {
		t.Errorf("Unseen = %q, want one finding about br-iot", got)
	}
	for _, z := range f.Zones(p, noon()) {
		if slices.Contains(z.Devices, "br-iot") {
			t.Errorf("Zones has %+v, want nothing about br-iot", z)
		}
	}
}

func TestAChangedFileIsReadAgain(t *testing.T) {
	book := Book{Dir: t.TempDir()}
	look := func() *Firewall {
		t.Helper()
		f, err := book.Look()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(book.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if f := look(); f != nil {
		t.Errorf("without a file Look = %+v, want nil", f)
	}
	write("firewall", usual)
	f := look()
	if f == nil || len(f.zones) != 3 {
		t.Fatalf("Look = %+v, want the three zones of the file", f)
	}
	if again := look(); again != f {
		t.Error("an unchanged file was read again")
	}
	write("system", berlin)
	if again := look(); again == f || again.clock.String() == f.clock.String() {
		t.Errorf("the time zone is %s after the file changed, want the new one", again.clock)
	}
	write("firewall", "# "+strings.Repeat("x", uci.MaxFile))
	if _, err := book.Look(); err == nil {
		t.Error("a file of more than a megabyte was read")
	}
	if err := os.Remove(filepath.Join(book.Dir, "firewall")); err != nil {
		t.Fatal(err)
	}
	if f := look(); f != nil {
		t.Errorf("with the file gone Look = %+v, want nil", f)
	}
}
