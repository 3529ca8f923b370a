package lease

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/openwrt/dhcp"
)

func bookOf(t *testing.T, leases, hosts string) (*Book, Paths) {
	t.Helper()
	dir := t.TempDir()
	p := Paths{Leases: []string{filepath.Join(dir, "leases")}, Hosts: []string{filepath.Join(dir, "hosts")}, DHCP: filepath.Join(dir, "dhcp")}
	write(t, p.Leases[0], leases)
	if err := os.Mkdir(p.Hosts[0], 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(p.Hosts[0], "dhcp.cfg"), hosts)
	return NewBook(p, "lan", slog.New(slog.DiscardHandler)), p
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

var tvMAC = policy.MAC{2, 0, 0, 0, 0, 2}

func TestALeaseGivesNameAddressAndPointer(t *testing.T) {
	b, _ := bookOf(t, "1700000000 02:00:00:00:00:02 192.168.77.12 AppleTV *\n", "")
	want := []netip.Addr{netip.MustParseAddr("192.168.77.12")}
	for _, name := range []string{"appletv", "appletv.lan"} {
		if got, ok := b.Host(name); !ok || !slices.Equal(got.Addrs, want) {
			t.Errorf("Host(%q) = %v, %v, want %v", name, got, ok, want)
		}
	}
	if got, _ := b.NameOf(want[0]); got != "appletv.lan" {
		t.Errorf("NameOf = %q, want appletv.lan", got)
	}
	if got := b.Hostname(tvMAC, netip.Addr{}); got != "appletv" {
		t.Errorf("Hostname by MAC = %q, want appletv", got)
	}
	if got := b.Hostname(policy.MAC{}, want[0]); got != "appletv" {
		t.Errorf("Hostname by address = %q, want appletv", got)
	}
	if got := b.MACs("appletv"); !slices.Equal(got, []policy.MAC{tvMAC}) {
		t.Errorf("MACs = %v, want %v", got, tvMAC)
	}
}

func TestAHostileLeaseHasNoEffectOutsideTheLocalDomain(t *testing.T) {
	long := strings.Repeat("a", 64)
	var leases strings.Builder
	for i, name := range []string{"localhost", "wpad", "isatap", "a$(b)", "*", long, "-x", "_ldap", "google.com", "bank.example.", "local"} {
		fmt.Fprintf(&leases, "1 02:00:00:00:01:%02x 192.168.77.%d %s *\n", i, 100+i, name)
	}
	b, _ := bookOf(t, leases.String(), "")
	want := []string{"bank", "bank.lan", "google", "google.lan"}
	if got := slices.Sorted(maps.Keys(b.entries.Load().byName)); !slices.Equal(got, want) {
		t.Errorf("the names are %q, want %q: one label each, and none that means something to others", got, want)
	}
}

func TestALeaseDoesNotTakeTheNameOfAHostsFile(t *testing.T) {
	b, _ := bookOf(t, "1 02:00:00:00:00:02 192.168.77.12 nas *\n", "192.168.77.20 nas.example nas # comment\n0.0.0.0 ads.example\n")
	for name, want := range map[string]string{"nas": "192.168.77.20", "nas.lan": "192.168.77.20", "nas.example": "192.168.77.20", "ads.example": "0.0.0.0"} {
		if got, _ := b.Host(name); len(got.Addrs) != 1 || got.Addrs[0].String() != want {
			t.Errorf("Host(%q) = %v, want %s", name, got.Addrs, want)
		}
	}
	if name, ok := b.NameOf(netip.MustParseAddr("192.168.77.12")); ok {
		t.Errorf("the lease is called %s, want no name", name)
	}
	if got, ok := b.Host("comment"); ok {
		t.Errorf("Host(comment) = %v, want none", got)
	}
}

func TestTheDevicesOfOdhcpdAreKnownByBothGenerationsOfItsFiles(t *testing.T) {
	for what, files := range map[string]map[string]string{
		"hosts in the lease file": {
			"odhcpd": "192.168.77.30\ttv.lan\ttv\n# br-lan 020000000002 ipv4 tv 1700000000 c0a84d1e 32 192.168.77.30/32\n" +
				"fd00::30\ttv.lan\ttv\n# br-lan 00010001 5f3a tv 1700000000 1a2 128 fd00::30/128\nfd00::66\twpad.lan\twpad\n",
		},
		"hosts apart": {
			"odhcpd.hosts.br-lan": "192.168.77.30\ttv.lan\ttv\nfd00::30\ttv.lan\ttv\n",
			"../odhcpd.leases":    "# br-lan 020000000002 ipv4 tv 1700000000 c0a84d1e 32 192.168.77.30/32\n",
		},
	} {
		b, p := bookOf(t, "", "")
		for name, text := range files {
			write(t, filepath.Join(p.Hosts[0], name), text)
		}
		write(t, p.DHCP, "config dnsmasq\n\toption domain lan\n\toption expandhosts 1\nconfig odhcpd\n\toption leasefile "+
			filepath.Join(p.Hosts[0], "../odhcpd.leases")+"\n\toption hostsdir "+p.Hosts[0]+"\n")
		b = NewBook(p, "", b.log)
		want := []netip.Addr{netip.MustParseAddr("192.168.77.30"), netip.MustParseAddr("fd00::30")}
		if got, _ := b.Host("tv.lan"); !slices.Equal(got.Addrs, want) {
			t.Errorf("%s: Host(tv.lan) = %v, want %v", what, got.Addrs, want)
		}
		if got := b.MACs("tv"); !slices.Equal(got, []policy.MAC{tvMAC}) {
			t.Errorf("%s: MACs(tv) = %v, want %v", what, got, tvMAC)
		}
		if _, ok := b.Host("wpad"); ok {
			t.Errorf("%s: a device is called wpad, want none", what)
		}
	}
}

func TestTooManyNamesAreNotRead(t *testing.T) {
	var hosts strings.Builder
	for i := range maxNames {
		fmt.Fprintf(&hosts, "0.0.0.0 n%d\n", i)
	}
	b, _ := bookOf(t, "", hosts.String())
	if got := len(b.entries.Load().byName); got != maxNames {
		t.Errorf("there are %d names, want the first %d", got, maxNames)
	}
}

// tooManyLeases are a lease file's.
func tooManyLeases() string {
	var leases strings.Builder
	for i := range 2 * maxLeases {
		fmt.Fprintf(&leases, "1 02:00:00:00:%02x:%02x 10.0.%d.%d n%d *\n", i>>8, i&0xff, i>>8, i&0xff, i)
	}
	return leases.String()
}

func TestThatThereIsTooMuchIsSaidOnce(t *testing.T) {
	_, p := bookOf(t, tooManyLeases(), "")
	var said strings.Builder
	b := NewBook(p, "lan", slog.New(slog.NewTextHandler(&said, nil)))
	b.entries.Store(b.read()) // as after each change of a file
	if got := strings.Count(said.String(), "too many leases"); got != 1 {
		t.Errorf("it is said %d times, want once:\n%s", got, said.String())
	}
}

func TestTooManyLeasesAreNotRead(t *testing.T) {
	b, _ := bookOf(t, tooManyLeases(), "")
	if got := len(b.Leases()); got != maxLeases {
		t.Errorf("there are %d leases, want the first %d", got, maxLeases)
	}
	if _, ok := b.Host("n0"); !ok {
		t.Error("too many leases take the names of the first ones away")
	}
}

func FuzzReadingTakesAnyFiles(f *testing.F) {
	f.Add("1 02:00:00:00:00:02 192.168.77.12 tv *\n", "# br-lan 020000000002 ipv4 tv 1 c0a84d1e 32 192.168.77.30/32\n", "config cname\n\toption cname a\n\toption target b\n")
	f.Fuzz(func(t *testing.T, told, odhcpd, configured string) {
		e := newEntries(config{dhcp.Parse(configured)})
		e.addConfig()
		l := e.newLeases()
		for line := range strings.Lines(odhcpd) {
			l.addGuest(line)
			e.addHosts(line)
		}
		for line := range strings.Lines(told) {
			l.addLease(line)
		}
		l.settle()
		for name := range e.byName {
			if !isName(name) {
				t.Errorf("there is a name %q, want none that is no host name", name)
			}
		}
	})
}

func TestAChangedFileIsReadAgain(t *testing.T) {
	b, p := bookOf(t, "", "")
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Serve(ctx, func() { changed <- struct{}{} })
	}()
	write(t, p.Leases[0], "1 02:00:00:00:00:02 192.168.77.12 tv *\n")
	<-changed
	if _, ok := b.Host("tv.lan"); !ok {
		t.Error("Host(tv.lan) is unknown after the lease file changed")
	}
	b.SetDomain("home")
	<-changed
	if _, ok := b.Host("tv.home"); !ok {
		t.Error("Host(tv.home) is unknown after the domain changed")
	}
	if _, ok := b.Host("tv.lan"); ok {
		t.Error("Host(tv.lan) is known after the domain changed")
	}
	cancel()
	<-done
}

func TestEveryLeaseIsListedWithANameOrWithout(t *testing.T) {
	b, _ := bookOf(t, "1700000000 02:00:00:00:00:02 192.168.77.12 AppleTV *\nduid 00:01\n"+
		"1700000000 1234567 fd00::12 a$(b) 00:01\n1 02:00:00:00:00:03 192.168.77.13 * *\n", "")
	want := []Lease{
		{Addr: netip.MustParseAddr("192.168.77.12"), MAC: tvMAC, Hostname: "appletv"},
		{Addr: netip.MustParseAddr("fd00::12")},
		{Addr: netip.MustParseAddr("192.168.77.13"), MAC: policy.MAC{2, 0, 0, 0, 0, 3}},
	}
	if got := b.Leases(); !slices.Equal(got, want) {
		t.Errorf("Leases = %+v, want %+v", got, want)
	}
}
