package upstream

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestOnlyTheServersNameIsAskedOfBootstrap(t *testing.T) {
	ca := newAuthority(t)
	loopback := netip.MustParseAddr("127.0.0.1")
	boot, bootSaw := serveUDP(t, func(a asked) [][]byte {
		if a.msg.Question[0].Qtype == dns.TypeAAAA {
			return fails(dns.RcodeSuccess)(a)
		}
		return answers(loopback)(a)
	})
	for _, scheme := range []string{"tls", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var addr netip.AddrPort
			if scheme == "tls" {
				addr, _ = serveTCP(t, anyPort, ca.server(t, "dns.test"), answers(right))
			} else {
				addr, _ = serveWeb(t, ca, "dns.test", answers(right))
			}
			before := len(bootSaw.all())
			d, bootDialer := &way{}, &way{}
			u := New(Config{
				Name:      "test",
				Servers:   []Server{{Scheme: scheme, Host: "dns.test", Addr: netip.AddrPortFrom(netip.Addr{}, addr.Port())}},
				Bootstrap: []netip.AddrPort{boot},
			}, d, Options{TLS: ca.client(), BootstrapDialer: bootDialer})
			t.Cleanup(u.Close)
			for i := range 5 {
				wantAddress(t, u, fmt.Sprintf("secret%d.example", i), right)
			}
			list := bootSaw.all()[before:]
			for _, a := range list {
				if got := strings.ToLower(a.msg.Question[0].Name); got != "dns.test." {
					t.Errorf("bootstrap was asked for %q", got)
				}
			}
			if got, want := len(list), 2; got != want {
				t.Errorf("bootstrap was asked %d times, want %d: A and AAAA, once", got, want)
			}
			if _, udp := d.dialled(); udp != 0 {
				t.Errorf("%d datagram sockets through the outbound, want 0", udp)
			}
			if tcp, _ := bootDialer.dialled(); tcp != 0 {
				t.Errorf("%d TCP connections beside the outbound, want 0", tcp)
			}
		})
	}
}

func TestTheLastKnownAddressOutlivesBootstrap(t *testing.T) {
	var mu sync.Mutex
	h := answers(right)
	boot, _ := serveUDP(t, func(a asked) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		return h(a)
	})
	b := newBootstrap(Config{Bootstrap: []netip.AddrPort{boot}}, &way{}, Options{})
	t.Cleanup(b.servers.Close)
	if _, err := b.lookup(within(t, 5*time.Second), "dns.test"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	h = fails(dns.RcodeServerFailure)
	mu.Unlock()
	known := b.hosts["dns.test"]
	known.until = time.Now()
	b.hosts["dns.test"] = known
	if got, err := b.lookup(within(t, 5*time.Second), "dns.test"); err != nil || got[0] != right {
		t.Errorf("lookup = %v, %v, want %v", got, err, right)
	}
	if _, err := b.lookup(within(t, 5*time.Second), "other.test"); err == nil {
		t.Error("a host never known has an address, want an error")
	}
}

func TestAServerByNameWithoutBootstrapIsAnError(t *testing.T) {
	d := &way{}
	u := open(t, d, Options{}, Server{Scheme: "tls", Host: "dns.test", Addr: netip.AddrPortFrom(netip.Addr{}, 853)})
	if _, err := u.Exchange(within(t, 5*time.Second), question("a.example")); err == nil || !strings.Contains(err.Error(), "no bootstrap server") {
		t.Errorf("Exchange = %v, want one that names the missing bootstrap server", err)
	}
	if tcp, udp := d.dialled(); tcp+udp != 0 {
		t.Errorf("%d dials, want 0", tcp+udp)
	}
}
