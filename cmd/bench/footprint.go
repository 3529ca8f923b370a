package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"time"
)

// footprint is what the daemon takes before anybody uses it, and what idle
// connections add.
type footprint struct {
	Start   time.Duration // from exec to serving; the median
	Idle    int64         // bytes
	Held    int64         // bytes, with Conns idle connections
	Conns   int
	PerConn int64 // bytes
	Named   int64 // bytes, after a million names; 0: in a short run nobody asked
}

const (
	idleConns = 2000
	// settling lets a process return what its start left.
	settling = time.Second
	// resting has the daemon give back what a load left, ten seconds after it.
	resting = 12 * time.Second
)

// footprint starts the daemon some times; the last one goes on running.
func (b *bench) footprint() (f footprint, err error) {
	if f.Idle, f.Held, err = b.memory(); err != nil {
		return f, fmt.Errorf("measuring memory: %w", err)
	}
	f.Conns, f.PerConn = idleConns, (f.Held-f.Idle)/idleConns
	var took []time.Duration
	for range b.pairs {
		if err := b.ours.stop(); err != nil {
			return f, err
		}
		t, err := b.ours.serve(b.binary, b.logLevel)
		if err != nil {
			return f, err
		}
		took = append(took, t)
	}
	slices.Sort(took)
	f.Start = took[len(took)/2]
	if b.brief {
		return f, nil
	}
	if f.Named, err = b.named(); err != nil {
		return f, fmt.Errorf("measuring memory after a million names: %w", err)
	}
	return f, b.forget()
}

// forget starts the daemon anew, without the fake addresses that it gave.
func (b *bench) forget() error {
	if err := b.ours.stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(b.ours.StateDir()); err != nil {
		return err
	}
	_, err := b.ours.serve(b.binary, b.logLevel)
	return err
}

func (b *bench) memory() (idle, held int64, err error) {
	h := b.ours
	if _, err := h.serve(b.binary, b.logLevel); err != nil {
		return 0, 0, err
	}
	time.Sleep(settling)
	if idle, err = resident(h.daemon.Pid()); err != nil {
		return 0, 0, err
	}
	to := netip.AddrPortFrom(h.At.Blocked.V4, sinkPort)
	if _, err := h.client.do(order{Do: "hold", To: to, Name: "www.domestic.example", Streams: idleConns}); err != nil {
		return 0, 0, err
	}
	if err := b.awaitFlows(idleConns); err != nil {
		return 0, 0, err
	}
	time.Sleep(settling)
	if held, err = resident(h.daemon.Pid()); err != nil {
		return 0, 0, err
	}
	_, err = h.client.do(order{Do: "release"})
	return idle, held, err
}

// A million names: so many are given fake addresses, of which there are 131,072 and
// the last eighth is kept for other devices, and so many are asked for elsewhere.
const (
	namedFakes = 110_000
	namedReals = 890_000
)

// named is what the daemon takes that was asked for a million names.
func (b *bench) named() (int64, error) {
	h := b.ours
	for _, load := range []order{
		{Name: "m0000000.foreign.example", Names: namedFakes}, {Name: "m0000000.domestic.example", Names: namedReals},
	} {
		load.Do, load.To, load.Once = "ask", h.routerDNS(), true
		o, err := h.client.do(load)
		if err != nil {
			return 0, err
		}
		if o.Errors > 0 || o.Count < o.Sent {
			return 0, fmt.Errorf("of %d questions %d were answered, %d wrongly (%s)", o.Sent, o.Count, o.Errors, o.Why)
		}
	}
	time.Sleep(resting)
	return resident(h.daemon.Pid())
}

// awaitFlows waits until the daemon relays so many connections.
func (b *bench) awaitFlows(n int) error {
	for until := time.Now().Add(startTime); ; {
		out, err := exec.Command(b.binary, "status", "--json", "-c", b.ours.config).Output()
		if err != nil {
			return fmt.Errorf("asking for the status: %w", err)
		}
		var status struct{ Flows struct{ TCP int } }
		if err := json.Unmarshal(out, &status); err != nil {
			return fmt.Errorf("reading the status: %w", err)
		}
		if status.Flows.TCP == n {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("the daemon relays %d connections, not %d", status.Flows.TCP, n)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
