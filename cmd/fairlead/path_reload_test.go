package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft"
)

// swapped sends the two names the other ways.
const swapped = `
config rule 'domestic'
	list domain 'domestic.example'
	option outbound 'node'
config rule 'foreign'
	list domain 'foreign.example'
	option outbound 'direct'
`

func TestOpenFlowsSurviveReloads(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	type open struct {
		what string
		talk func(text string) error
	}
	var flows []open
	for _, f := range families {
		for what, addr := range map[string]netip.Addr{
			"by name to the node": h.address(t, laptop, "www.foreign.example", f),
			"sniffed, and direct": f.of(h.At.Foreign),
			"in the kernel":       h.address(t, laptop, "www.domestic.example", f),
		} {
			tcp, udp := h.dialTCP(t, laptop, at(addr, lab.EchoPort)), h.dialUDP(t, laptop, at(addr, lab.EchoPort))
			_, err := hello(tcp)
			ok(t, err)
			udp.SetDeadline(time.Now().Add(patience))
			flows = append(flows,
				open{f.name + " TCP " + what, func(text string) error {
					io.WriteString(tcp, text)
					got := make([]byte, len(text))
					_, err := io.ReadFull(tcp, got)
					return same(string(got), text, err)
				}},
				open{f.name + " UDP " + what, func(text string) error {
					io.WriteString(udp, text)
					got := make([]byte, 2048)
					n, err := udp.Read(got)
					if err != nil {
						return err
					}
					_, err = echoed(string(got[:n]), text)
					return err
				}})
		}
	}
	for i := range 20 {
		c := lab.Config{}
		if i%2 == 0 {
			c.Rules = swapped
		}
		h.rewrite(t, c)
		for _, flow := range flows {
			if err := flow.talk(fmt.Sprintf("after reload %d\n", i+1)); err != nil {
				t.Errorf("%s: after reload %d: %v", flow.what, i+1, err)
			}
		}
		if t.Failed() {
			return
		}
	}
}

func same(got, want string, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %q, want %q", got, want)
	}
	return err
}

func TestChangedRulesApplyAtOnce(t *testing.T) {
	for how, reload := range map[string]func(*testing.T, *home){
		"by the command": func(t *testing.T, h *home) {
			if out, errs, code := h.command("reload"); code != 0 || out != "reloaded\n" {
				t.Fatalf("reload exits with %d and says %q", code, out+errs)
			}
		},
		"by SIGHUP": func(t *testing.T, h *home) {
			ok(t, h.daemon.Signal(syscall.SIGHUP))
			ok(t, h.daemon.WaitLog(h.ctx(), "msg=reloaded"))
		},
	} {
		t.Run(how, func(t *testing.T) {
			h := newHome(t, lab.Options{}, lab.Config{})
			laptop := h.Clients["laptop"]
			for _, f := range families {
				h.wantPath(t, laptop, h.address(t, laptop, "www.domestic.example", f), byKernel)
				h.wantPath(t, laptop, h.address(t, laptop, "www.foreign.example", f), byNode)
			}
			h.configure(h.ConfigText(lab.Config{Rules: swapped}))
			reload(t, h)
			eachFamily(t, func(t *testing.T, f family) {
				// Before any question: the address is not believed any more.
				seen, err := h.webFrom(laptop, f.of(h.At.Domestic), "https://www.domestic.example/")
				ok(t, err)
				if got := h.wayOf(seen); got != byNode {
					t.Errorf("a flow to the address of before was %s, want %s", got, byNode)
				}
				if addr := h.address(t, laptop, "www.domestic.example", f); addr == f.of(h.At.Domestic) {
					t.Errorf("www.domestic.example is still answered %s, want a fake address", addr)
				}
				addr := h.address(t, laptop, "www.foreign.example", f)
				if isFake(addr) {
					t.Errorf("www.foreign.example is still answered %s, want a real address", addr)
				}
			})
		})
	}
}

func TestABrokenConfigurationIsRefusedAndTheOldOneStays(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	before := h.snapshot(t)
	h.configure(h.ConfigText(lab.Config{More: "config rule 'bad'\n\toption outbound 'nowhere'\n"}))
	_, errs, code := h.command("reload")
	if code != 1 || !strings.Contains(errs, h.config+":") || !strings.Contains(errs, "nowhere") {
		t.Errorf("reload exits with %d and says %q, want 1, the place and the word", code, errs)
	}
	ok(t, h.daemon.Signal(syscall.SIGHUP))
	ok(t, h.daemon.WaitLog(h.ctx(), "reload refused"))
	wantRestored(t, before, h.snapshot(t))
	h.wantPath(t, laptop, h.address(t, laptop, "www.foreign.example", families[0]), byNode)
	h.wantPath(t, laptop, h.address(t, laptop, "www.domestic.example", families[0]), byKernel)
}

func TestAConfigurationThatIsGoneIsRefused(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	ok(t, os.Rename(h.config, h.config+".away"))
	if err := ask(h.config, "reload", nil); err == nil {
		// Without a file the command looks at the default control socket.
		t.Error("a reload without a configuration succeeded")
	}
	ok(t, h.daemon.Signal(syscall.SIGHUP))
	ok(t, h.daemon.WaitLog(h.ctx(), "reload refused"))
	h.wantPath(t, laptop, h.address(t, laptop, "www.foreign.example", families[0]), byNode)
}

func TestALANDeviceThatAppearsLaterIsServed(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Main: []string{"list device 'guest'"}})
	guest := h.guest(t, "guest")
	eachFamily(t, func(t *testing.T, f family) {
		router := netip.MustParseAddr("192.168.78.1")
		if f.qtype == lab.TypeAAAA {
			router = netip.MustParseAddr("2001:db8:78::1")
		}
		answer, err := guest.Lookup(h.ctx(), router, "www.foreign.example", f.qtype, "udp")
		ok(t, err)
		if len(answer.Addrs) != 1 || answer.Addrs[0] == f.of(h.At.Poison) {
			t.Fatalf("the guest is answered %v, want a fake address", answer.Addrs)
		}
		h.wantPath(t, guest, answer.Addrs[0], byNode)
	})
	// Its network is the house's own from now on.
	laptop := h.Clients["laptop"]
	h.listen(t, guest.NS, at(guest.Addr4, testPort), whoami)
	until(t, soon, "the way to the guest past the daemon", func() bool {
		return seenFrom(t, h, laptop.NS, at(guest.Addr4, testPort)).Addr() == laptop.Addr4
	})
}

func TestATableThatSomebodyRemovedIsBackWithinASecond(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	fake := h.address(t, laptop, "www.foreign.example", families[0])
	before := h.snapshot(t)
	var other *nft.Table
	ok(t, h.Router.Do(func() (err error) {
		other, err = nft.Open(nft.Options{})
		return err
	}))
	defer other.Close()
	ok(t, other.Delete())
	began := time.Now()
	until(t, soon, "a flow through the daemon", func() bool {
		p, err := h.briefly(laptop, fake)
		return err == nil && p == byNode
	})
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("the table was back after %v, want about a second", took)
	}
	if got, want := lines(h.snapshot(t), "rule "), lines(before, "rule "); got != want {
		t.Errorf("the table has %d rules with the others, before it had %d", got, want)
	}
}

func lines(text, prefix string) (count int) {
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			count++
		}
	}
	return count
}
