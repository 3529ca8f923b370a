package dnsrouter

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

func TestACanaryDoesNotExist(t *testing.T) {
	for _, name := range []string{"use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com", "Mask-H2.iCloud.com", "mask-canary.icloud.com"} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeTXT} {
			l := newLAN(t, func(p *Plan) { p.Config.Canaries = true })
			for _, client := range []netip.Addr{laptop, tv, desk} {
				got := l.ask(client, name, qtype)
				l.rcode(got, dns.RcodeNameError)
				if len(got.Ns) != 1 {
					t.Errorf("%s: the answer to %s cannot be kept: it has no SOA record", name, client)
				}
			}
			l.unasked()
		}
	}
}

func TestACanaryIsANameLikeAnyOtherIfThatIsWanted(t *testing.T) {
	l := newLAN(t, nil)
	l.rcode(l.ask(tv, "mask.icloud.com", dns.TypeA), dns.RcodeSuccess)
	if len(l.remote.questions()) != 1 {
		t.Error("the upstream of its way was not asked")
	}
}

func TestACanaryIsNothingToAClientThatIsOff(t *testing.T) {
	l := newLAN(t, func(p *Plan) { p.Config.Canaries = true })
	l.rcode(l.ask(guest, "mask.icloud.com", dns.TypeA), dns.RcodeSuccess)
}

func TestThereIsNoNAT64ToBeFound(t *testing.T) {
	for _, tt := range []struct {
		name  string
		qtype uint16
		rcode int
		want  []string
	}{
		{"ipv4only.arpa", dns.TypeA, dns.RcodeSuccess, []string{"192.0.0.170", "192.0.0.171"}},
		{"ipv4only.arpa", dns.TypeAAAA, dns.RcodeSuccess, nil},
		{"a.ipv4only.arpa", dns.TypeA, dns.RcodeNameError, nil},
	} {
		l := newLAN(t, nil)
		for _, client := range []netip.Addr{laptop, tv, desk} {
			got := l.ask(client, tt.name, tt.qtype)
			l.rcode(got, tt.rcode)
			if !slices.Equal(addrs(got), tt.want) {
				t.Errorf("%s, type %d: addresses = %v, want %v", tt.name, tt.qtype, addrs(got), tt.want)
			}
		}
		l.unasked()
	}
}
