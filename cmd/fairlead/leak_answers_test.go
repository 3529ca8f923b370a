package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

func TestLeak_L07_AServiceRecordOfAFakedNameCarriesNothing(t *testing.T) {
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			for _, qtype := range []uint16{lab.TypeHTTPS, lab.TypeSVCB} {
				a := p.ask("laptop", p.name(), qtype)
				p.rcode(a, lab.NoError)
				if !p.control && len(a.Records) > 0 {
					p.t.Errorf("type %d: got records %v, want none", qtype, a.Records)
				}
			}
		},
		proof: nobody,
	}.run(t)
}

func TestLeak_L08_AServiceRecordOfARealAnswerKeepsItsALPNOnly(t *testing.T) {
	leakCase{
		config: lab.Config{},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			for _, qtype := range []uint16{lab.TypeHTTPS, lab.TypeSVCB} {
				raw := p.ask("tv", p.name(), qtype).Raw
				for what, part := range map[string][]byte{
					"an IPv4 hint": p.At.Foreign.V4.AsSlice(), "an IPv6 hint": p.At.Foreign.V6.AsSlice(), "ech": []byte("lab ech config"),
				} {
					if bytes.Contains(raw, part) {
						p.t.Errorf("type %d: the answer carries %s", qtype, what)
					}
				}
				if !bytes.Contains(raw, []byte("\x02h2")) {
					p.t.Errorf("type %d: the answer %x has lost its alpn", qtype, raw)
				}
			}
		},
	}.run(t)
}

// withSecret is a question whose options carry a canary: client subnet, cookie,
// padding, one of the local range, and a MAC address as some routers add it.
func withSecret(name, secret string) []byte {
	b := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0, 0, lab.TypeTXT, 0, 1)
	var options []byte
	for _, code := range []uint16{8, 10, 12, 65001, 65073} {
		data := []byte(secret)
		if code == 8 {
			data = append([]byte{0, 1, 24, 0}, 203, 0, 113) // RFC 7871: IPv4, 24 bits
		}
		options = append(options, byte(code>>8), byte(code), 0, byte(len(data)))
		options = append(options, data...)
	}
	b = append(b, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, byte(len(options)>>8), byte(len(options)))
	return append(b, options...)
}

func TestLeak_L23_L24_NoOptionOfTheClientIsSentOn(t *testing.T) {
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			subnet := []byte{0, 8, 0, 7, 0, 1, 24, 0, 203, 0, 113}
			for _, name := range []string{"o.foreign.example", "o.domestic.example"} {
				_, err := p.Clients["tv"].Exchange(p.ctx(), netip.AddrPortFrom(p.At.RouterLAN.V4, 53), withSecret(name, p.label), "udp")
				p.check(err)
			}
			asked := append(p.ISPLog()[p.began:], p.NodeResolverLog()...)
			names := map[string]bool{}
			for _, q := range asked {
				names[q.Name] = true
				if !p.control && (carries(q.Raw, p.label) || bytes.Contains(q.Raw, subnet)) {
					p.t.Errorf("%s was asked with options of the client: %x", q.Name, q.Raw)
				}
			}
			if len(names) != 2 {
				p.t.Errorf("%v were asked for, want both names", names)
			}
		},
		proof: nobody,
	}.run(t)
}

func TestLeak_L25_AddressesOfThisNetworkAreNotLookedUpElsewhere(t *testing.T) {
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			for _, name := range []string{
				"1.0.0.10.in-addr.arpa", "11.77.168.192.in-addr.arpa", "1.1.16.172.in-addr.arpa", "1.1.64.100.in-addr.arpa",
				"1.1.254.169.in-addr.arpa", "5.0.18.198.in-addr.arpa", "lb._dns-sd._udp.0.77.168.192.in-addr.arpa",
				"1.2.0.192.in-addr.arpa", "1.113.0.203.in-addr.arpa", reverse6("fe80::1"), reverse6("fd00::1"), reverse6("2001:2::5"), reverse6("2001:db8::1"),
			} {
				for _, client := range []string{"laptop", "tv"} {
					p.rcode(p.ask(client, name, lab.TypePTR), lab.NXDomain)
				}
			}
			p.rcode(p.ask("tv", "168.192.in-addr.arpa", lab.TypePTR), lab.NoError) // a network has no name, but there may be names under it
			for _, name := range []string{"1.0.0.127.in-addr.arpa", reverse6("::1"), reverse6(p.At.RouterLAN.V6.String())} {
				p.ask("tv", name, lab.TypePTR) // the router's hosts file may have names for these
			}
			if !p.control && len(p.NodeResolverLog()) > 0 {
				p.t.Errorf("the honest resolver was asked for %s", p.NodeResolverLog()[0].Name)
			}
		},
		proof: nobody,
	}.run(t)
}

func TestLeak_L25_PublicAddressesAreLookedUpTheDefaultWay(t *testing.T) {
	leakCase{
		config: lab.Config{Default: "node"},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			for _, client := range []string{"laptop", "tv"} {
				p.rcode(p.ask(client, "8.8.8.8.in-addr.arpa", lab.TypePTR), lab.NoError)
			}
			if !p.control && len(p.NodeResolverLog()) == 0 {
				p.t.Error("the honest resolver was not asked")
			}
		},
		proof: unproved,
	}.run(t)
}

func reverse6(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	bytes := netip.MustParseAddr(s).As16()
	slices.Reverse(bytes[:])
	for _, octet := range bytes {
		b.Write([]byte{digits[octet&15], '.', digits[octet>>4], '.'})
	}
	return b.String() + "ip6.arpa"
}

func TestLeak_L26_NamesOfThisNetworkAreNeitherFakedNorSentOn(t *testing.T) {
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			for _, suffix := range []string{
				"", ".lan", ".b.lan", ".foreign.example.lan", ".local", ".b.local", ".onion", ".b.onion", ".invalid", ".test",
				".home.arpa", ".internal", ".alt",
			} {
				for _, client := range []string{"laptop", "tv"} {
					for _, qtype := range []uint16{lab.TypeA, lab.TypeAAAA, lab.TypeHTTPS, lab.TypeTXT, lab.TypeSRV} {
						p.rcode(p.ask(client, p.label+suffix, qtype), lab.NXDomain)
					}
				}
			}
			for _, client := range []string{"laptop", "tv"} {
				p.rcode(p.ask(client, p.label+".localhost", lab.TypeA), lab.NoError)
			}
			for _, name := range []string{"wpad", "isatap", "_ldap._tcp.dc._msdcs.lan", "wpad.lan"} {
				p.rcode(p.ask("laptop", name, lab.TypeA), lab.NXDomain)
			}
		},
		proof: nobody,
	}.run(t)
}

func TestLeak_L27_NamesOfTheLinkStayOnIt(t *testing.T) {
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			p.ask("laptop", p.label+".local", lab.TypeA)
			question := string(withSecret(p.label+".local", p.label))
			for _, to := range []string{"224.0.0.251:5353", "224.0.0.252:5355", "192.168.77.255:137"} {
				p.send("laptop", netip.MustParseAddrPort(to), question)
			}
		},
		proof: nobody,
	}.run(t)
}

// views are three clients to which one name has three answers: a fake one, the
// true one through the node, and what the ISP says.
func views(h *home) lab.Config {
	pc := h.Clients["pc"].MAC.String()
	return lab.Config{
		Clients: "config client 'tv'\n\tlist mac '" + h.Clients["tv"].MAC.String() + "'\n\toption mode 'realip'\n" +
			"config client 'pc'\n\tlist mac '" + pc + "'\n\toption mode 'realip'\n",
		Rules: "config rule\n\tlist client 'pc'\n\toption outbound 'direct'\n" + rest,
	}
}

// foreignAnswers are those answers that are another client's, or none, when three
// clients ask for the same names in every order, and at once.
func (h *home) foreignAnswers() (wrong []string) {
	right := map[string]func(netip.Addr) bool{
		"laptop": isFake,
		"tv":     h.At.Foreign.Is,
		"pc":     h.At.Poison.Is,
	}
	var mu sync.Mutex // guards wrong
	ask := func(client, name string, qtype uint16) {
		a, err := h.Clients[client].Lookup(h.ctx(), h.At.RouterLAN.V4, name, qtype, "udp")
		if err != nil || len(a.Addrs) != 1 || !right[client](a.Addrs[0]) {
			mu.Lock()
			defer mu.Unlock()
			wrong = append(wrong, fmt.Sprintf("%s was told %v for %s (%v), which is another client's answer or none", client, a.Addrs, name, err))
		}
	}
	for _, order := range [][]string{
		{"laptop", "tv", "pc"}, {"laptop", "pc", "tv"}, {"tv", "laptop", "pc"},
		{"tv", "pc", "laptop"}, {"pc", "laptop", "tv"}, {"pc", "tv", "laptop"},
	} {
		for _, qtype := range []uint16{lab.TypeA, lab.TypeAAAA} {
			name := canary() + ".foreign.example"
			for range 2 { // the second time from the cache
				for _, client := range order {
					ask(client, name, qtype)
				}
			}
			name = canary() + ".foreign.example"
			var all sync.WaitGroup
			for _, client := range order {
				all.Go(func() { ask(client, name, qtype) })
			}
			all.Wait()
		}
	}
	return wrong
}

func TestLeak_L28_NoClientIsGivenTheAnswerOfAnother(t *testing.T) {
	world := func(t *testing.T, config func(h *home) lab.Config) *home {
		h := newHouse(t, lab.Options{Clients: []string{"laptop", "tv", "pc"}})
		h.configure(h.ConfigText(config(h)))
		h.start()
		return h
	}
	t.Run("fairlead keeps them apart", func(t *testing.T) {
		for _, wrong := range world(t, views).foreignAnswers() {
			t.Error(wrong)
		}
	})
	t.Run("the oracle fires where they are one", func(t *testing.T) {
		one := func(*home) lab.Config { return lab.Config{Mode: "realip"} }
		if len(world(t, one).foreignAnswers()) == 0 {
			t.Error("no answer was found wrong in a world of one view")
		}
	})
}
