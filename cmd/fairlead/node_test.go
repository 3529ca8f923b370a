package main

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// A node that vanishes without a word, while its client goes on sending, must
// be found out: kept alive by the client alone, the session would be dead for ever.
func TestAUDPSessionToAVanishedNodeIsDialledAnewWithinFiveSeconds(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	answer, err := laptop.Lookup(h.ctx(), h.At.RouterLAN.V4, "echo.foreign.example", 1, "udp")
	if err != nil || len(answer.Addrs) == 0 {
		t.Fatalf("asking for a foreign name: %v, %v", answer.Addrs, err)
	}
	c, err := laptop.DialUDP(h.ctx(), netip.AddrPortFrom(answer.Addrs[0], lab.EchoPort))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echoed := make(chan struct{}, 1024)
	go func() {
		for buf := make([]byte, 2048); ; {
			switch _, err := c.Read(buf); {
			case err == nil:
				echoed <- struct{}{}
			case errors.Is(err, net.ErrClosed):
				return
			}
		}
	}()
	// send goes on until one of the datagrams is echoed, or for so long.
	send := func(long time.Duration) bool {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for end := time.After(long); ; {
			select {
			case <-echoed:
				return true
			case <-end:
				return false
			case <-tick.C:
				c.Write([]byte("hello"))
			}
		}
	}
	if !send(patience) {
		t.Fatal("nothing is echoed while the node lives")
	}
	if err := h.Internet.Down("hosting"); err != nil {
		t.Fatal(err)
	}
	if err := h.StopNode(); err != nil { // it forgets its associations, as after a power cut
		t.Fatal(err)
	}
	for len(echoed) > 0 {
		<-echoed
	}
	if send(5 * time.Second) {
		t.Fatal("something is echoed while the node is gone")
	}
	if err := h.StartNode(); err != nil {
		t.Fatal(err)
	}
	if err := h.Internet.Up("hosting"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if !send(patience) {
		t.Fatal("the session was never dialled anew")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the session was dialled anew %v after the node came back, want within 5 s", took)
	}
}
