package main

import (
	"bufio"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// managers install a version of our package each in its own way.
func managers() map[string]func(r *router, of release) {
	return map[string]func(r *router, of release){"opkg": (*router).opkg, "apk": (*router).apk}
}

// runs waits until a version of the gateway serves.
func (r *router) runs(version string) {
	r.t.Helper()
	until(r.t, version+" serves", func() bool {
		out, code := r.try("fairlead status --json")
		return code == 0 && strings.Contains(out, `"`+version+`"`)
	})
}

func TestAnUpgradeRunsTheNewVersionAndKeepsTheRest(t *testing.T) {
	for name, install := range managers() {
		t.Run(name, func(t *testing.T) {
			r := boot(t)
			install(r, r.now)
			r.configure(lab.Config{})
			r.sh("reload_config")
			r.runs(r.now.version)
			r.firewalled()
			address := func(name string) []netip.Addr {
				answer, err := r.Clients["laptop"].Lookup(r.ctx(), r.At.RouterLAN.V4, name, lab.TypeA, "udp")
				ok(t, err)
				return answer.Addrs
			}
			direct, err := r.Clients["laptop"].DialTCP(r.ctx(), netip.AddrPortFrom(address("www.domestic.example")[0], lab.EchoPort))
			ok(t, err)
			defer direct.Close()
			faked, config := address("www.foreign.example"), r.read("/etc/config/fairlead")
			install(r, r.next)
			r.runs(r.next.version)
			r.firewalled()
			if got := address("www.foreign.example"); !slices.Equal(got, faked) {
				t.Errorf("a name that was %v is now %v, want the same", faked, got)
			}
			if r.read("/etc/config/fairlead") != config {
				t.Error("the configuration changed")
			}
			direct.SetDeadline(time.Now().Add(patience))
			if _, err := direct.Write([]byte("hello\n")); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(direct).ReadString('\n'); err != nil {
				t.Errorf("a flow that the kernel carries: %v, want it to go on", err)
			}
			r.wantNode("laptop")
		})
	}
}

// hammer has the laptop open flows and ask questions that only the node may see,
// until it is told to stop.
func (r *router) hammer() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	laptop := r.Clients["laptop"]
	var all sync.WaitGroup
	for _, try := range []func(context.Context){
		func(ctx context.Context) {
			if c, err := laptop.DialTCP(ctx, netip.AddrPortFrom(r.At.Foreign.V4, 80)); err == nil {
				c.Close()
			}
		},
		func(ctx context.Context) {
			laptop.Lookup(ctx, r.At.RouterLAN.V4, "www.foreign.example", lab.TypeA, "udp")
		},
		func(ctx context.Context) {
			laptop.Lookup(ctx, r.At.Public.V4, "www.foreign.example", lab.TypeA, "udp")
		},
	} {
		all.Go(func() {
			for tick := time.Tick(time.Millisecond); ctx.Err() == nil; <-tick {
				brief, done := context.WithTimeout(ctx, 50*time.Millisecond)
				try(brief)
				done()
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// outside are packets that left by the WAN for what only the node may see.
func (r *router) outside(do func()) (leaks []string) {
	r.t.Helper()
	capture, err := r.CaptureWAN()
	ok(r.t, err)
	asked := len(r.ISPLog())
	stop := r.hammer()
	do()
	stop()
	packets, err := capture.Packets()
	ok(r.t, err)
	for _, p := range packets {
		if s, isIP := p.Segment(); isIP && p.Outgoing && (r.At.Foreign.Is(s.Dst.Addr()) || r.At.Public.Is(s.Dst.Addr())) {
			leaks = append(leaks, s.Src.String()+" to "+s.Dst.String())
		}
	}
	for _, q := range r.ISPLog()[asked:] {
		if strings.HasSuffix(q.Name, "foreign.example") {
			leaks = append(leaks, "a question for "+q.Name)
		}
	}
	return leaks
}

func TestWhereFailureIsClosedNothingLeavesBetweenTwoProcesses(t *testing.T) {
	for name, upgrade := range managers() {
		t.Run(name, func(t *testing.T) {
			r := boot(t)
			upgrade(r, r.now)
			r.configure(lab.Config{Default: "node", OnFailure: "closed"})
			r.sh("reload_config")
			r.runs(r.now.version)
			r.firewalled()
			for what, do := range map[string]func(){
				"an upgrade": func() { upgrade(r, r.next); r.runs(r.next.version) },
				"a restart":  func() { r.sh("service fairlead restart"); r.daemon() },
				"an option that cannot change": func() {
					before := r.daemon()
					r.sh("uci set fairlead.dns.fakeip_range=198.19.0.0/16 && uci commit fairlead && service fairlead reload")
					until(t, "another process serves", func() bool { return r.daemon().Pid != before.Pid })
				},
				"the router's end": func() { r.sh("/etc/init.d/fairlead shutdown; service fairlead start"); r.daemon() },
			} {
				if leaks := r.outside(do); len(leaks) > 0 {
					t.Errorf("%s: %d packets left directly, want none: %s", what, len(leaks), leaks[0])
				}
			}
			if leaks := r.outside(func() { r.sh("service fairlead stop"); r.web("laptop") }); len(leaks) == 0 {
				t.Error("after an explicit stop nothing was seen to leave, want the control to fire")
			}
		})
	}
}

func TestAMistakeIsSaidOnceAndMendedByAReload(t *testing.T) {
	r := boot(t)
	r.install()
	r.configure(lab.Config{Default: "node", OnFailure: "closed"})
	r.sh("uci set fairlead.main.default=nodd && uci commit fairlead && service fairlead boot")
	until(t, "the mistake is said", func() bool { return strings.Contains(r.read("/tmp/log"), "nodd") })
	if r.web("laptop") {
		t.Error("at a boot with a mistake a client gets to the web, want a refusal")
	}
	r.sh("uci set fairlead.main.default=node && uci commit fairlead && service fairlead reload")
	r.daemon()
	r.firewalled()
	r.wantNode("laptop")
	// Procd starts what ends four times a second here.
	if log := r.read("/tmp/log"); strings.Count(log, "nodd") != 1 || strings.Contains(log, "instance.respawn") {
		t.Error("the mistake was not said once, want the gateway to wait for it to be mended")
	}
}
