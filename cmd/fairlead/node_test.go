package main

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway/outbound"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/openwrt/config"
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

func TestTheLocalUpstreamKnowsTheNamesOfNodesThatSayNoOther(t *testing.T) {
	announced, isp, own := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.3:53")
	nowhere := &resolvConf{path: filepath.Join(t.TempDir(), "none")}
	w := &wan{collected: nowhere, general: nowhere, told: func() []netip.AddrPort { return []netip.AddrPort{announced} }, own: func(netip.Addr) bool { return false }}
	plain, encrypted := upstream.Server{Scheme: "udp", Addr: isp}, upstream.Server{Scheme: "tls", Host: "192.0.2.4", Addr: netip.MustParseAddrPort("192.0.2.4:853")}
	tests := []struct {
		name, local string
		servers     []upstream.Server
		bootstrap   []netip.AddrPort
		want        []netip.AddrPort
	}{
		{"the WAN's own", "auto", nil, nil, []netip.AddrPort{announced}},
		{"one by address", "isp", []upstream.Server{plain}, nil, []netip.AddrPort{isp}},
		{"the WAN's own among others", "isp", []upstream.Server{{Scheme: "auto"}, encrypted, plain}, nil, []netip.AddrPort{announced, isp}},
		{"the node's own", "isp", []upstream.Server{plain}, []netip.AddrPort{own}, []netip.AddrPort{own}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &config.Config{Policy: policy.Config{LocalUpstream: tt.local}, Upstreams: []upstream.Config{{Name: "isp", Servers: tt.servers}}}
			if got := bootstrapOf(cfg, outbound.Config{Bootstrap: tt.bootstrap}, w)(); !slices.Equal(got, tt.want) {
				t.Errorf("its name is asked of %v, want %v", got, tt.want)
			}
		})
	}
}
