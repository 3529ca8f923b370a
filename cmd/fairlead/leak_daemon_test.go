package main

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// What a client was told by one mode must not be what it is told by another,
// be it over a reload or a restart.
func TestLeak_L29_ASwitchOfTheModeLeavesNoAnswerBehind(t *testing.T) {
	for _, tt := range []struct{ before, after string }{{"fakeip", "realip"}, {"realip", "fakeip"}} {
		t.Run("from "+tt.before+" to "+tt.after, func(t *testing.T) {
			h := newHome(t, lab.Options{}, lab.Config{Mode: tt.before})
			p := newProbe(t, h)
			want := func(mode, when string) {
				t.Helper()
				for _, qtype := range []uint16{lab.TypeA, lab.TypeAAAA} {
					a := p.ask("laptop", p.name(), qtype)
					if len(a.Addrs) != 1 || isFake(a.Addrs[0]) != (mode == "fakeip") {
						t.Errorf("%s the laptop was told %v, want one address by mode %s", when, a.Addrs, mode)
					}
				}
			}
			want(tt.before, "first")
			h.rewrite(t, lab.Config{Mode: tt.after})
			want(tt.after, "after a reload")
			if err := h.daemon.Kill(); err != nil {
				t.Fatal(err)
			}
			h.start()
			want(tt.after, "after a restart")
			for _, leak := range p.leaks(nil) {
				t.Errorf("leak: %s", leak)
			}
		})
	}
}

// towards finds packets of the router's own side for an address on the WAN.
func (p *probe) towards(addr netip.Addr) (found []string) {
	p.t.Helper()
	packets, err := p.capture.Packets()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, packet := range packets {
		if s, ok := packet.Segment(); ok && s.Dst.Addr() == addr {
			found = append(found, fmt.Sprintf("from %s to %s", s.Src, s.Dst))
		}
	}
	return found
}

func TestLeak_L31_NobodyTriesTheAddressesThatWereAnswered(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	p := newProbe(t, h)
	for _, client := range []string{"laptop", "tv"} {
		for _, qtype := range []uint16{lab.TypeA, lab.TypeAAAA, lab.TypeHTTPS} {
			p.ask(client, p.name(), qtype)
			p.ask(client, "www.domestic.example", qtype)
		}
	}
	h.status(t)
	for _, addr := range []netip.Addr{p.At.Foreign.V4, p.At.Foreign.V6, p.At.Domestic.V4, p.At.Domestic.V6} {
		if found := p.towards(addr); len(found) > 0 {
			t.Errorf("a packet went %s, though no client sent one", found[0])
		}
	}
	for _, leak := range p.leaks(nil) {
		t.Errorf("leak: %s", leak)
	}
	p.prove(throughNode)

	p.visit("tv", "http://www.domestic.example/") // the control
	p.until("a packet of a client's own", func() bool { return len(p.towards(p.At.Domestic.V4)) > 0 })
}

func TestLeak_L32_WhoLooksAtTheDaemonCausesNoQuestion(t *testing.T) {
	leakCase{
		config: lab.Config{Main: []string{"option log_level 'debug'"}},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			everyone(p)
			asked := len(p.NodeResolverLog())
			for _, args := range [][]string{
				{"status"}, {"status", "--json"}, {"clients"}, {"check"}, {"doctor"},
				{"explain", "--client", p.Clients["laptop"].Addr4.String(), p.name()},
				{"explain", "--client", p.Clients["tv"].Addr4.String(), p.At.Foreign.V4.String()},
			} {
				p.command(args...)
			}
			if !p.control && len(p.NodeResolverLog()) > asked {
				p.t.Errorf("the honest resolver was asked for %s", p.NodeResolverLog()[asked].Name)
			}
			for _, q := range p.ISPLog()[p.began:] {
				if q.Type == lab.TypePTR {
					p.t.Errorf("the ISP was asked who %s is", q.Name)
				}
			}
		},
	}.run(t)
}

// To a clock that is years behind no certificate is valid yet.
func TestLeak_L36_AWrongClockIsNoReasonToAskInTheClear(t *testing.T) {
	t.Run("fairlead does not leak it", func(t *testing.T) {
		for _, e := range encryptions() {
			s := newSecured(t, e, credential{early: true})
			s.rcode(s.ask("tv", s.name(), lab.TypeA), lab.ServFail)
			s.rcode(s.ask("laptop", s.name(), lab.TypeTXT), lab.ServFail)
			if a := s.ask("tv", "0.openwrt.pool.ntp.org", lab.TypeA); len(a.Addrs) == 0 {
				t.Error("the time cannot be asked for: the name of its server has no address")
			}
			if log := append(s.server.Log(), s.NodeResolverLog()...); len(log) > 0 {
				t.Errorf("a resolver was asked for %s, want nothing told to it", log[0].Name)
			}
			s.wantSecret("pool.ntp.org")
		}
	})
	t.Run("the oracles fire without it", func(t *testing.T) {
		h := newHouse(t, lab.Options{})
		h.configure(remoteIsISP(h, h.ConfigText(lab.Config{})))
		h.start()
		p := newProbe(t, h)
		p.ask("tv", p.name(), lab.TypeA)
		if len(p.leaks(nil)) == 0 {
			t.Error("no leak was seen in a world that leaks")
		}
	})
}
