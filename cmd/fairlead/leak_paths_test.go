package main

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

func TestLeak_L12_UDPToAFakeAddressGoesToTheNodeByName(t *testing.T) {
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			a := p.ask("laptop", p.name(), lab.TypeA)
			if len(a.Addrs) == 0 {
				return
			}
			c, err := p.Clients["laptop"].DialUDP(p.ctx(), netip.AddrPortFrom(a.Addrs[0], lab.EchoPort))
			if err != nil {
				p.t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			reply := make([]byte, 100)
			if _, err := c.Write([]byte("hello")); err != nil {
				p.t.Fatal(err)
			}
			_, err = c.Read(reply)
			p.check(err)
		},
	}.run(t)
}

func TestLeak_L12_QUICToAFakeAddressGoesToTheNodeByName(t *testing.T) {
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			a := p.ask("laptop", p.name(), lab.TypeA)
			if p.control || len(a.Addrs) == 0 {
				return
			}
			initial := append([]byte{0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0}, make([]byte, 1185)...)
			p.until("a visit of the node", func() bool {
				p.send("laptop", netip.AddrPortFrom(a.Addrs[0], 443), string(initial))
				for _, v := range p.NodeLog() {
					if v.Network == "udp" && v.Target == p.name()+":443" {
						return true
					}
				}
				return false
			})
		},
	}.run(t)
}

// fakeOnWAN finds packets for a fake address among those that passed the WAN.
func (p *probe) fakeOnWAN() (found []string) {
	packets, err := p.capture.Packets()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, packet := range packets {
		if s, ok := packet.Segment(); ok && (isFake(s.Dst.Addr()) || isFake(s.Src.Addr())) {
			found = append(found, fmt.Sprintf("from %s to %s", s.Src, s.Dst))
		}
	}
	return found
}

// refused has the laptop try an address over TCP and UDP, with the canary in
// the datagram; the connection must be refused at once.
func (p *probe) refused(to netip.Addr) {
	p.t.Helper()
	began := time.Now()
	p.send("laptop", netip.AddrPortFrom(to, lab.EchoPort), p.label)
	if p.control {
		return
	}
	c, err := p.Clients["laptop"].DialTCP(p.ctx(), netip.AddrPortFrom(to, 443))
	if err == nil {
		c.Close()
	}
	if took := time.Since(began); err == nil || took > time.Second {
		p.t.Errorf("connecting to %s gave %v after %s, want a refusal within 1s", to, err, took)
	}
	if found := p.fakeOnWAN(); len(found) > 0 {
		p.t.Errorf("a packet passed the WAN %s", found[0])
	}
}

func TestLeak_L13_NoPacketForAFakeAddressPassesTheWAN(t *testing.T) {
	unused := []netip.Addr{netip.MustParseAddr("198.19.200.1"), netip.MustParseAddr("2001:2::c001")}
	leakCase{
		config: lab.Config{},
		act: func(p *probe) {
			all := unused
			if !p.control {
				all = append(all[:2:2], p.ask("laptop", "www.foreign.example", lab.TypeA).Addrs...)
				all = append(all, p.ask("laptop", "www.foreign.example", lab.TypeAAAA).Addrs...)
				for _, to := range unused {
					p.refused(to)
				}
				p.daemon.Kill()
			}
			for _, to := range all {
				p.refused(to)
			}
		},
		proof: nobody,
	}.run(t)
}

// afterRestart has the laptop go to a fake address that it was given before the
// daemon ended by a signal and, with forget, lost its memory.
func (p *probe) afterRestart(s syscall.Signal, forget bool) error {
	p.t.Helper()
	before := p.ask("laptop", p.name(), lab.TypeA).Addrs
	ok(p.t, p.daemon.Signal(s))
	_, err := p.daemon.Wait(p.ctx())
	ok(p.t, err)
	if forget {
		ok(p.t, os.RemoveAll(p.StateDir()))
	}
	p.start()
	if len(before) != 1 {
		p.t.Fatalf("addresses = %v, want one", before)
	}
	_, err = p.Clients["laptop"].GetHTTPAt(p.ctx(), before[0], "https://other.domestic.example/")
	return err
}

func TestLeak_L14_AFakeAddressOutlivesTheDaemon(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			p := newProbe(t, newHome(t, lab.Options{}, lab.Config{}))
			ok(t, p.afterRestart(s, false))
			p.prove(throughNode)
			for _, leak := range p.leaks(nil) {
				t.Errorf("leak: %s", leak)
			}
		})
	}
	t.Run("and is refused where nobody remembers it", func(t *testing.T) {
		p := newProbe(t, newHome(t, lab.Options{}, lab.Config{}))
		if err := p.afterRestart(syscall.SIGKILL, true); err == nil {
			t.Error("the address led somewhere, want it refused")
		}
		if found := p.fakeOnWAN(); len(found) > 0 {
			t.Errorf("a packet passed the WAN %s", found[0])
		}
		p.prove(nobody)
	})
}

func TestLeak_L14_NoTwoLiveNamesShareAnAddress(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{DNS: []string{"option fakeip_range '198.18.0.0/28'", "option fakeip6_range '2001:2::/120'"}})
	p := newProbe(t, h)
	fakes, real := map[netip.Addr]string{}, 0
	for i := range 20 {
		name := fmt.Sprintf("n%d.%s", i, p.name())
		for _, a := range p.ask("laptop", name, lab.TypeA).Addrs {
			switch {
			case !isFake(a):
				real++
			case fakes[a] != "":
				t.Errorf("%s stands for %s and for %s", a, fakes[a], name)
			default:
				fakes[a] = name
			}
		}
	}
	if len(fakes) != 14 || real != 6 {
		t.Errorf("%d names were faked and %d answered truly, want 14 (of a /28) and 6", len(fakes), real)
	}
	for addr, name := range fakes {
		if _, err := p.Clients["laptop"].GetHTTPAt(p.ctx(), addr, "http://"+name+"/"); err != nil {
			t.Error(err)
		}
	}
	for _, leak := range p.leaks(nil) {
		t.Errorf("leak: %s", leak)
	}
}

// everyServer asks the router and a public resolver over both families and
// both transports.
func everyServer(p *probe) {
	for _, server := range []netip.Addr{
		p.At.RouterLAN.V4, p.At.RouterLAN.V6, p.At.RouterWAN.V4, p.At.RouterWAN.V6,
		p.At.Public.V4, p.At.Public.V6, p.At.ISP.V4, p.At.ISP.V6,
	} {
		for _, network := range []string{"udp", "tcp"} {
			for _, client := range []string{"laptop", "tv"} {
				p.askAt(client, server, p.name(), lab.TypeA, network)
				p.askAt(client, server, p.name(), lab.TypeTXT, network)
			}
		}
	}
}

func TestLeak_L15_AClosedRouterAnswersNobodyWhenFairleadIsKilled(t *testing.T) {
	leakCase{
		config: lab.Config{OnFailure: "closed"},
		leaky: func(_ *home, text string) string {
			return replaced(text, "on_failure 'closed'", "on_failure 'open'")
		},
		act: func(p *probe) {
			p.daemon.Kill()
			p.control = true // that nobody answers is what is wanted
			for _, network := range []string{"udp", "tcp"} {
				for _, server := range []netip.Addr{p.At.RouterLAN.V4, p.At.RouterLAN.V6, p.At.Public.V4, p.At.Public.V6} {
					p.askAt("laptop", server, p.name(), lab.TypeA, network)
				}
			}
		},
		proof: nobody,
	}.run(t)
}

func TestLeak_L16_QuestionsToHardCodedServersAreAnsweredByUs(t *testing.T) {
	leakCase{config: lab.Config{}, act: everyServer}.run(t)
}

func TestLeak_L17_TLSToAResolverIsRefused(t *testing.T) {
	leakCase{
		config: lab.Config{},
		leaky: func(h *home, text string) string {
			return replaced(text, "option mode 'fakeip'", "option mode 'fakeip'\n\toption block_dot '0'")
		},
		act: func(p *probe) {
			for _, server := range []netip.Addr{p.At.Public.V4, p.At.Public.V6} {
				p.send("laptop", netip.AddrPortFrom(server, 853), p.label) // as QUIC would (RFC 9250)
				c, err := p.Clients["laptop"].DialTCP(p.ctx(), netip.AddrPortFrom(server, 853))
				if err != nil {
					continue
				}
				if !p.control {
					p.t.Errorf("%s let the laptop connect to port 853", server)
				}
				c.Write([]byte(p.label))
				c.Close()
			}
			if p.control {
				p.until("the canary on the WAN", func() bool { return len(p.leaks(nil)) > 0 })
			}
		},
		proof: nobody,
	}.run(t)
}

func TestLeak_L35_QuestionsInsideAFlowAreStillQuestions(t *testing.T) {
	leakCase{
		config: lab.Config{Default: "node"},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			p.askAt("laptop", p.At.Foreign.V4, p.name(), lab.TypeTXT, "udp")
			p.askAt("laptop", p.At.Foreign.V6, p.name(), lab.TypeTXT, "tcp")
		},
	}.run(t)
}
