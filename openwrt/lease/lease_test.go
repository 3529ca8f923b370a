package lease

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func bookOf(t *testing.T, leases, hosts string) (*Book, Paths) {
	t.Helper()
	dir := t.TempDir()
	p := Paths{Leases: []string{filepath.Join(dir, "leases")}, Hosts: []string{filepath.Join(dir, "hosts")}}
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
		if got, ok := b.Addrs(name); !ok || !slices.Equal(got, want) {
			t.Errorf("Addrs(%q) = %v, %v, want %v", name, got, ok, want)
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

func TestHostileAndLoopbackNamesAreNotTaken(t *testing.T) {
	b, _ := bookOf(t, "1 02:00:00:00:00:02 192.168.77.12 localhost *\n1 02:00:00:00:00:03 192.168.77.13 a$(b) *\n1 02:00:00:00:00:04 192.168.77.14 * *\n",
		"127.0.0.1 router\n::1 ip6-localhost\n192.168.77.20 nas.home-of.example nas # comment\n")
	for _, name := range []string{"localhost", "a$(b)", "*", "router", "ip6-localhost", "comment"} {
		if got, ok := b.Addrs(name); ok {
			t.Errorf("Addrs(%q) = %v, want none", name, got)
		}
	}
	if got, ok := b.Addrs("nas.lan"); !ok {
		t.Errorf("Addrs(nas.lan) = %v, want the address of the hosts file", got)
	}
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
	if _, ok := b.Addrs("tv.lan"); !ok {
		t.Error("Addrs(tv.lan) is unknown after the lease file changed")
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
