package main

import (
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

func TestLeak_L10_NoAddressIsHiddenInAnother(t *testing.T) {
	odd := []string{"::ffff:192.168.77.1", "64:ff9b::c0a8:4d01", "::c0a8:4d01"}
	hosts := map[string][]netip.Addr{}
	for _, name := range []string{"odd.foreign.example", "odd.domestic.example"} {
		for _, a := range odd {
			hosts[name] = append(hosts[name], netip.MustParseAddr(a))
		}
	}
	leakCase{
		options: lab.Options{Hosts: hosts},
		config:  lab.Config{},
		act: func(p *probe) {
			for _, client := range []string{"laptop", "tv"} {
				for _, qtype := range []uint16{lab.TypeA, lab.TypeAAAA, lab.TypeTXT} {
					p.ask(client, "ipv4only.arpa", qtype)
					p.ask(client, p.label+".ipv4only.arpa", qtype)
				}
			}
			if p.control {
				return
			}
			for _, name := range []string{"odd.foreign.example", "odd.domestic.example"} {
				if a := p.ask("tv", name, lab.TypeAAAA); a.RCode != lab.NoError || len(a.Addrs) > 0 {
					p.t.Errorf("%s: code %d, addresses %v; want none that stands for a private one", name, a.RCode, a.Addrs)
				}
			}
		},
		proof: nobody,
	}.run(t)
}

func TestLeak_L18_WhoAsksWhetherToGoRoundUsIsToldNotTo(t *testing.T) {
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			for _, name := range []string{"use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com"} {
				for _, client := range []string{"laptop", "tv"} {
					for _, qtype := range []uint16{lab.TypeA, lab.TypeAAAA, lab.TypeHTTPS} {
						p.rcode(p.ask(client, name, qtype), lab.NXDomain)
					}
				}
			}
			for _, name := range []string{"_dns.resolver.arpa", "resolver.arpa"} {
				for _, qtype := range []uint16{lab.TypeSVCB, lab.TypeA} {
					a := p.ask("tv", name, qtype)
					p.rcode(a, lab.NoError)
					if !p.control && len(a.Records) > 0 {
						p.t.Errorf("%s is answered with %v, want no resolver offered", name, a.Records)
					}
				}
			}
			if log := p.NodeResolverLog(); !p.control && len(log) > 0 {
				p.t.Errorf("the honest resolver was asked for %s", log[0].Name)
			}
		},
		proof: nobody,
	}.run(t)
}

// router is the router itself as one who asks.
func (p *probe) router() *lab.Client {
	return &lab.Client{Name: "router", NS: p.Router, Addr4: p.At.RouterWAN.V4, Addr6: p.At.RouterWAN.V6}
}

func TestLeak_L19_TheRoutersOwnProgramsFollowThePolicy(t *testing.T) {
	leakCase{
		config: lab.Config{Main: []string{"option router '1'"}},
		leaky: func(_ *home, text string) string {
			return replaced(text, "option router '1'", "option router '0'")
		},
		act: func(p *probe) {
			for _, server := range []netip.Addr{p.At.ISP.V4, p.At.ISP.V6, p.At.Public.V4} {
				for _, network := range []string{"udp", "tcp"} {
					for _, qtype := range []uint16{lab.TypeA, lab.TypeTXT} {
						_, err := p.router().Lookup(p.ctx(), server, p.name(), qtype, network)
						p.check(err)
					}
				}
			}
		},
	}.run(t)
}

// The names that are direct by the list may be asked of the ISP; those beside
// them may not.
func TestEssentialNamesAreRealAndDirectWhateverTheDefault(t *testing.T) {
	const essential = "www.msftconnecttest.com"
	h := newHome(t, lab.Options{Domestic: []string{"msftconnecttest.com"}}, lab.Config{Default: "node"})
	p := newProbe(t, h)
	for _, client := range []string{"laptop", "tv"} {
		a := p.ask(client, essential, lab.TypeA)
		if len(a.Addrs) != 1 || a.Addrs[0] != p.At.Foreign.V4 {
			t.Fatalf("%s was told %v for %s, want its address, %s", client, a.Addrs, essential, p.At.Foreign.V4)
		}
		if got := h.tcpPath(t, p.Clients[client], a.Addrs[0]); got != byKernel {
			t.Errorf("%s reached %s %s, want it %s", client, essential, got, byKernel)
		}
		p.ask(client, p.name(), lab.TypeTXT)
	}
	for _, leak := range p.leaks([]string{essential}) {
		t.Errorf("leak: %s", leak)
	}
	p.prove(throughNode)
}
