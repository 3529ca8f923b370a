package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// traffic is what a household does all the time, and what went wrong of it.
type traffic struct {
	p       *probe
	all     sync.WaitGroup
	done    atomic.Int64 // exchanges
	strikes chan string  // what went wrong, of which the first are kept
}

// exchanging repeats an exchange until ctx ends, at the pace of a busy flow.
func (l *traffic) exchanging(ctx context.Context, what string, exchange func(i int) error) {
	l.all.Go(func() {
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			if err := exchange(i); err != nil {
				select {
				case l.strikes <- fmt.Sprintf("%s, exchange %d: %v", what, i, err):
				default:
				}
				return
			}
			l.done.Add(1)
			<-pace.C
		}
	})
}

// load opens long flows of every kind, over both families, and goes on asking
// and connecting.
func (p *probe) load(ctx context.Context, c *lab.Client) *traffic {
	p.t.Helper()
	l := &traffic{p: p, strikes: make(chan string, 16)}
	for _, f := range families {
		for what, addr := range map[string]netip.Addr{
			"by name to the node":    p.address(p.t, c, "www.foreign.example", f),
			"to an address, sniffed": f.of(p.At.Foreign),
			"direct in the kernel":   p.address(p.t, c, "www.domestic.example", f),
		} {
			tcp := &talk{conn: p.dialTCP(p.t, c, at(addr, lab.EchoPort))}
			tcp.answers = bufio.NewReader(tcp.conn)
			l.exchanging(ctx, f.name+" TCP "+what, func(i int) error { return tcp.say(fmt.Sprint("line ", i)) })
			udp := p.dialUDP(p.t, c, at(addr, lab.EchoPort))
			l.exchanging(ctx, f.name+" UDP "+what, func(i int) error { _, err := echo(udp, fmt.Sprint("datagram ", i)); return err })
			l.exchanging(ctx, f.name+" new TCP "+what, func(int) error { _, err := p.tryTCP(c, addr); return err })
		}
		for _, asker := range []*lab.Client{c, p.Clients["tv"]} { // the tv's have to be asked of the remote upstream
			l.exchanging(ctx, f.name+" questions of "+asker.Name, func(i int) error {
				_, err := asker.Lookup(p.t.Context(), f.of(p.At.RouterLAN), fmt.Sprintf("q%d.%s", i, p.name()), f.qtype, "udp")
				return err
			})
		}
	}
	return l
}

// echo sends one datagram of a flow, wants it back, and gives whom the server
// saw. Nothing may be lost: the lab's links do not lose.
func echo(c *net.UDPConn, text string) (seen netip.AddrPort, err error) {
	c.SetDeadline(time.Now().Add(soon))
	if _, err := c.Write([]byte(text)); err != nil {
		return seen, err
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		return seen, err
	}
	return echoed(string(buf[:n]), text)
}

func TestAHundredReloadsUnderLoadAreFeltByNobody(t *testing.T) {
	t.Parallel()
	h := newHome(t, lab.Options{}, lab.Config{OnFailure: "closed"})
	p := newProbe(t, h)
	ctx, stop := context.WithCancel(t.Context())
	traffic := p.load(ctx, h.Clients["laptop"])
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for i := range 100 {
		<-tick.C
		// A rule that matches nothing here comes and goes, and with it what can be
		// known of a name before the port is: everything is judged anew.
		h.configure(h.ConfigText(lab.Config{OnFailure: "closed", More: strings.Repeat("config rule\n\tlist port '9'\n\toption outbound 'reject'\n", i%2)}))
		ok(t, ask(h.config, "reload", nil))
	}
	took := time.Since(began)
	stop()
	traffic.all.Wait()
	close(traffic.strikes)
	for strike := range traffic.strikes {
		t.Error(strike)
	}
	t.Logf("%d exchanges during 100 reloads in %v", traffic.done.Load(), took)
	packets, err := p.capture.Packets()
	ok(t, err)
	for _, f := range lab.Leaks(h.Sorter(p.label).Classify(packets)) {
		// An ICMP error may quote to the node an answer of its own, which came
		// when the generation that had asked was gone.
		if f.Proto != nstest.ICMP || !h.At.Node.Is(f.Dst.Addr()) {
			t.Errorf("leak: %s", f)
		}
	}
	p.prove(throughNode)
}

func TestAStrictReloadEndsWhatGoesAnotherWay(t *testing.T) {
	for _, reload := range []string{"keep", "strict"} {
		t.Run(reload, func(t *testing.T) {
			strict := reload == "strict"
			h := newHome(t, lab.Options{}, lab.Config{})
			laptop := h.Clients["laptop"]
			type flows struct {
				tcp *talk
				udp *net.UDPConn
			}
			open := make(map[string]flows)
			for _, name := range []string{"www.foreign.example", "stays.foreign.example", "www.domestic.example"} {
				addr := h.address(t, laptop, name, families[0])
				f := flows{&talk{conn: h.dialTCP(t, laptop, at(addr, lab.EchoPort))}, h.dialUDP(t, laptop, at(addr, lab.EchoPort))}
				f.tcp.answers = bufio.NewReader(f.tcp.conn)
				ok(t, f.tcp.say("hello"))
				_, err := echo(f.udp, "hello")
				ok(t, err)
				open[name] = f
			}
			h.rewrite(t, lab.Config{
				Main:  []string{"option reload '" + reload + "'"},
				Rules: "config rule\n\tlist domain 'stays.foreign.example'\n\toption outbound 'node'\n" + swapped,
			})
			for name, f := range open {
				moved := strict && name == "www.foreign.example"
				if err := f.tcp.say("after the reload"); (err != nil) != moved || moved && !refused(err) && err != io.EOF {
					t.Errorf("the connection to %s: %v; want it reset: %v", name, err, moved)
				}
				seen, err := echo(f.udp, "after the reload")
				want := map[bool]path{true: byRelay, false: byNode}[moved]
				if name == "www.domestic.example" {
					want = byKernel
				}
				if got := h.pathOf(f.udp.LocalAddr(), seen); err != nil || got != want {
					t.Errorf("the next datagram to %s was %s (%v), want %s", name, got, err, want)
				}
			}
		})
	}
}
