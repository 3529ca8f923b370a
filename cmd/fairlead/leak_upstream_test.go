package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/nstest"
)

// aliases is a resolver that answers every question for an address with an
// alias and its address, and repeats what it was asked.
type aliases struct {
	at    netip.AddrPort
	to    string
	addr  netip.Addr
	mu    sync.Mutex // guards the field below
	asked []string
}

func (p *probe) serveAliases(ns *nstest.NS, at netip.AddrPort, to string, addr netip.Addr) *aliases {
	p.t.Helper()
	c, err := ns.ListenUDP(at)
	if err != nil {
		p.t.Fatal(err)
	}
	a := &aliases{at: at, to: to, addr: addr}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for buf := make([]byte, 1500); ; {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(a.answer(buf[:n]), from)
		}
	}()
	p.t.Cleanup(func() { c.Close(); <-ended })
	return a
}

func (a *aliases) answer(query []byte) []byte {
	end := 12
	var labels []string
	for query[end] != 0 {
		labels = append(labels, strings.ToLower(string(query[end+1:end+1+int(query[end])])))
		end += 1 + int(query[end])
	}
	a.mu.Lock()
	a.asked = append(a.asked, strings.Join(labels, "."))
	a.mu.Unlock()
	b := append([]byte(nil), query[:end+5]...)
	copy(b[2:], []byte{0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0})
	alias := wireName(a.to)
	b = append(b, 0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 0)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(alias))), alias...)
	b = append(append(b, alias...), 0, lab.TypeA, 0, 1, 0, 0, 1, 0, 0, 4)
	return append(b, a.addr.AsSlice()...)
}

func (a *aliases) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asked...)
}

func wireName(name string) (b []byte) {
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

// aliased is a running home one of whose upstreams is a resolver of aliases.
func aliased(t *testing.T, replace func(h *home, text string) string) *probe {
	h := newHouse(t, lab.Options{})
	h.configure(replace(h, h.ConfigText(lab.Config{})))
	h.start()
	return newProbe(t, h)
}

// notOf are the names that a resolver was asked for outside a domain.
func (a *aliases) notOf(domain string) (others []string) {
	for _, name := range a.names() {
		if !strings.HasSuffix(name, "."+domain) {
			others = append(others, name)
		}
	}
	return others
}

func TestLeak_L11_AnAliasOfADirectNameIsNotAskedAgain(t *testing.T) {
	atTheGateway := func(h *home, text string) string {
		return replaced(text, "list server '"+h.At.ISP.V4.String()+"'", "list server '"+h.At.Gateway.V4.String()+"'")
	}
	t.Run("fairlead does not leak it", func(t *testing.T) {
		p := aliased(t, atTheGateway)
		local := p.serveAliases(p.Internet, netip.AddrPortFrom(p.At.Gateway.V4, 53), p.name(), p.At.Domestic.V4)
		for _, client := range []string{"laptop", "tv"} {
			a := p.ask(client, "d-"+client+".domestic.example", lab.TypeA)
			if len(a.Addrs) != 1 || a.Addrs[0] != p.At.Domestic.V4 {
				t.Errorf("%s was told %v, want the alias's address", client, a.Addrs)
			}
		}
		if others := local.notOf("domestic.example"); len(others) > 0 {
			t.Errorf("the local upstream was asked for %v", others)
		}
		p.prove(nobody)
	})
	t.Run("the oracle fires without it", func(t *testing.T) {
		p := aliased(t, func(h *home, text string) string { return remoteIsISP(h, atTheGateway(h, text)) })
		local := p.serveAliases(p.Internet, netip.AddrPortFrom(p.At.Gateway.V4, 53), "www.domestic.example", p.At.Domestic.V4)
		p.ask("tv", p.name(), lab.TypeA)
		if len(local.notOf("domestic.example")) == 0 {
			t.Error("no question was seen in a world that asks it")
		}
	})
}

func TestLeak_L11_AnAliasThatIsADirectNameIsNotAskedLocally(t *testing.T) {
	const port = 5300
	remoteOfAliases := func(h *home, text string) string {
		honest := h.At.Honest.V4.String()
		return replaced(text, "list server '"+honest+"'", fmt.Sprintf("list server 'udp://%s:%d'", honest, port))
	}
	t.Run("fairlead does not leak it", func(t *testing.T) {
		p := aliased(t, remoteOfAliases)
		remote := p.serveAliases(p.Node, netip.AddrPortFrom(p.At.Honest.V4, port), "www.domestic.example", p.At.Domestic.V4)
		if a := p.ask("tv", p.name(), lab.TypeA); len(a.Addrs) != 1 {
			t.Errorf("addresses = %v, want the alias's", a.Addrs)
		}
		if got := remote.names(); len(got) != 1 || got[0] != p.name() {
			t.Errorf("the remote upstream was asked for %v, want %s only", got, p.name())
		}
		if got := p.ISPLog(); len(got) > 0 {
			t.Errorf("the ISP was asked for %s", got[0].Name)
		}
		for _, leak := range p.leaks(nil) {
			t.Errorf("leak: %s", leak)
		}
	})
	t.Run("the oracles fire without it", func(t *testing.T) {
		p := aliased(t, func(h *home, text string) string { return remoteIsISP(h, remoteOfAliases(h, text)) })
		p.ask("tv", p.name(), lab.TypeA)
		if len(p.leaks(nil)) == 0 {
			t.Error("no leak was seen in a world that leaks")
		}
	})
}

func TestLeak_L20_OnlyTheNodesOwnNameIsAskedOfItsBootstrap(t *testing.T) {
	const node = "node.hosting.example"
	at := netip.MustParseAddr("203.0.113.80")
	named := func(h *home, text string) string {
		return replaced(text, "option server '"+at.String()+"'", "option server '"+node+"'\n\tlist bootstrap '"+h.At.ISP.V4.String()+"'")
	}
	leakCase{
		options: lab.Options{Domestic: []string{node}, Hosts: map[string][]netip.Addr{node: {at}}},
		config:  lab.Config{},
		edit:    named,
		leaky:   func(h *home, text string) string { return remoteIsISP(h, named(h, text)) },
		also:    []string{node},
		act: func(p *probe) {
			everyone(p)
			asked := false
			for _, q := range p.ISPLog()[p.began:] {
				asked = asked || q.Name == node
				if q.Name != node && !p.control {
					p.t.Errorf("the bootstrap server was asked for %s", q.Name)
				}
			}
			if !asked && !p.control {
				p.t.Errorf("the bootstrap server was not asked for %s", node)
			}
		},
	}.run(t)
}

func TestLeak_L21_WhenTheNodeIsDeadNoOtherUpstreamIsAsked(t *testing.T) {
	leakCase{
		config: lab.Config{},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			if err := p.StopNode(); err != nil {
				p.t.Fatal(err)
			}
			for i := range 50 {
				began := time.Now()
				a := p.ask("tv", fmt.Sprintf("n%d.%s", i, p.name()), lab.TypeA)
				p.rcode(a, lab.ServFail)
				if took := time.Since(began); took > 2*time.Second {
					p.t.Errorf("the answer took %s, want at most 2s", took)
				}
			}
		},
		proof: nobody,
	}.run(t)
}

// The questions are asked at once and bounded together: a silent node is given two
// seconds, a slow one four.
func TestLeak_L21_WhenTheNodeIsSilentNoOtherUpstreamIsAsked(t *testing.T) {
	for name, used := range map[string]bool{"from the beginning": false, "after an answer": true} {
		t.Run(name, func(t *testing.T) {
			proof := nobody
			if used {
				proof = throughNode
			}
			leakCase{
				config: lab.Config{},
				leaky:  remoteIsISP,
				act: func(p *probe) {
					if used {
						p.ask("tv", p.name(), lab.TypeA)
					}
					ok(p.t, p.Internet.Down("hosting"))
					began := time.Now()
					var all sync.WaitGroup
					for i := range 20 {
						all.Go(func() { p.rcode(p.ask("tv", fmt.Sprintf("n%d.%s", i, p.name()), lab.TypeA), lab.ServFail) })
					}
					all.Wait()
					if took := time.Since(began); !p.control && took > 3500*time.Millisecond {
						p.t.Errorf("the answers took %s, want about 2s", took)
					}
				},
				proof: proof,
			}.run(t)
		})
	}
}

func TestLeak_L21_WhenTheResolverIsSilentNoOtherUpstreamIsAsked(t *testing.T) {
	leakCase{
		config: lab.Config{},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			p.SilenceHonest(true)
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					a := p.ask("tv", fmt.Sprintf("n%d.%s", i, p.name()), lab.TypeA)
					p.rcode(a, lab.ServFail)
				})
			}
			all.Wait()
		},
	}.run(t)
}

func TestLeak_L22_ATruncatedAnswerIsAskedForAgainTheSameWay(t *testing.T) {
	var many []netip.Addr
	for i := range 80 {
		many = append(many, netip.AddrFrom4([4]byte{198, 51, 101, byte(i)}))
	}
	leakCase{
		options: lab.Options{Hosts: map[string][]netip.Addr{"big.foreign.example": many, "big.domestic.example": many}},
		config:  lab.Config{},
		leaky:   remoteIsISP,
		act: func(p *probe) {
			server := p.At.RouterLAN.V4
			for _, name := range []string{p.label + ".big.foreign.example", "big.domestic.example"} {
				if a := p.askAt("tv", server, name, lab.TypeA, "udp"); !p.control && !a.Truncated {
					p.t.Errorf("%s: an answer of %d bytes fits in 512", name, len(a.Raw))
				}
				if a := p.askAt("tv", server, name, lab.TypeA, "tcp"); !p.control && len(a.Addrs) != len(many) {
					p.t.Errorf("%s: %d addresses over TCP, want %d", name, len(a.Addrs), len(many))
				}
			}
			networks := map[string]bool{}
			for _, q := range p.NodeResolverLog() {
				networks[q.Network] = true
			}
			if !p.control && !(networks["udp"] && networks["tcp"]) {
				p.t.Errorf("the honest resolver was asked over %v, want udp and tcp", networks)
			}
		},
	}.run(t)
}

func TestLeak_L30_AnOldAnswerIsRenewedTheWayItCame(t *testing.T) {
	leakCase{
		options: lab.Options{TTL: 1},
		config:  lab.Config{},
		leaky:   remoteIsISP,
		act: func(p *probe) {
			if p.control {
				p.ask("tv", p.name(), lab.TypeA)
				return
			}
			p.ask("tv", p.name(), lab.TypeA)
			asked := len(p.NodeResolverLog())
			p.until("a renewal", func() bool {
				p.ask("tv", p.name(), lab.TypeA)
				return len(p.NodeResolverLog()) > asked
			})
			if err := p.StopNode(); err != nil {
				p.t.Fatal(err)
			}
			const staleTTL = 30 // RFC 8767 section 4
			p.until("a stale answer", func() bool {
				a := p.ask("tv", p.name(), lab.TypeA)
				p.rcode(a, lab.NoError)
				return len(a.Records) == 1 && a.Records[0].TTL == staleTTL
			})
		},
	}.run(t)
}

func TestLeak_L35_AnUpstreamThatIsFairleadItselfIsNoEndlessLoop(t *testing.T) {
	const loop = 50
	h := newHouse(t, lab.Options{})
	text := h.ConfigText(lab.Config{Mode: "realip"})
	text = replaced(text, "list server '"+h.At.Honest.V4.String()+"'\n\toption outbound 'node'",
		fmt.Sprintf("list server 'udp://127.0.0.1:%d'", nft.DNSPort))
	h.configure(text)
	h.start()
	p := newProbe(t, h)
	p.rcode(p.ask("tv", p.name(), lab.TypeA), lab.ServFail)
	if got := h.status(t).DNS.Queries; got >= loop {
		t.Errorf("one question became %d, want fewer than %d", got, loop)
	}
	for _, leak := range p.leaks(nil) {
		t.Errorf("leak: %s", leak)
	}

	for range loop { // the control: each question counts
		p.ask("tv", "www.blocked.example", lab.TypeA)
	}
	if got := h.status(t).DNS.Queries; got < loop {
		t.Errorf("after %d more questions %d are counted, want them all", loop, got)
	}
}
