package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// asking has both clients ask for one new name after the other while do runs.
func (p *probe) asking(do func()) {
	p.t.Helper()
	ctx, stop := context.WithCancel(p.ctx())
	var all sync.WaitGroup
	for _, client := range []string{"laptop", "tv"} {
		for _, network := range []string{"udp", "tcp"} {
			all.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					name := fmt.Sprintf("%s%d.%s", network, i, p.name())
					_, err := p.Clients[client].Lookup(ctx, p.At.RouterLAN.V4, name, lab.TypeA, network)
					if ctx.Err() == nil {
						p.check(err)
					}
				}
			})
		}
	}
	do()
	stop()
	all.Wait()
}

func TestLeak_L33_NothingPassesDuringReloads(t *testing.T) {
	leakCase{
		config: lab.Config{OnFailure: "closed"},
		leaky:  remoteIsISP,
		act: func(p *probe) {
			p.asking(func() {
				for range 3 {
					if out, errs, code := p.command("reload"); code != 0 {
						p.t.Errorf("reload: code %d: %s%s", code, out, errs)
					}
				}
			})
		},
	}.run(t)
}

func TestLeak_L15_NothingPassesAClosedRouterThatIsKilledAndStartedAgain(t *testing.T) {
	leakCase{
		config: lab.Config{OnFailure: "closed"},
		leaky: func(_ *home, text string) string {
			return replaced(text, "on_failure 'closed'", "on_failure 'open'")
		},
		act: func(p *probe) {
			p.control = true // some questions find nobody to answer them
			p.asking(func() {
				for range 3 {
					p.daemon.Signal(syscall.SIGKILL)
					if _, err := p.daemon.Wait(p.ctx()); err != nil {
						p.t.Fatal(err)
					}
					p.askAt("laptop", p.At.Public.V4, p.name(), lab.TypeA, "udp")
					p.start()
				}
			})
			p.until("an answer", func() bool {
				_, err := p.Clients["tv"].Lookup(p.ctx(), p.At.RouterLAN.V4, p.name(), lab.TypeA, "udp")
				return err == nil
			})
		},
	}.run(t)
}
