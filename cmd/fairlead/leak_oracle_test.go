package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// leakCase is one way that a name could get out. It is tried twice, in worlds
// of its own: with fairlead as it should be, where nobody on the WAN's side may
// learn of the canary, and in a leaky one, where the same oracles must fire:
// else they could not be trusted.
type leakCase struct {
	options lab.Options
	config  lab.Config
	edit    func(h *home, text string) string // what lab.Config cannot say
	// leaky makes the configuration of the control from the good one; without
	// it the control is a router that does not run fairlead.
	leaky func(h *home, text string) string
	also  []string // names beside domestic.example that may be asked of the ISP
	act   func(p *probe)
	proof proof
}

// proof is who must have seen the canary, so that it is known that the question
// was answered by the right one and not dropped on the way.
type proof int

const (
	throughNode proof = iota // the node, or the resolver that only it reaches
	nobody                   // neither those nor anybody else
	unproved                 // the case itself looks
)

// probe is one run of a case.
type probe struct {
	*home
	t       *testing.T
	label   string // the canary: nobody but the client knows it
	control bool
	capture *nstest.Capture
	began   int // length of the ISP's log before
}

// run lets two worlds of their own, with fairlead and without it, run beside each
// other: most of it is waiting.
func (c leakCase) run(t *testing.T) {
	t.Run("fairlead does not leak it", func(t *testing.T) {
		t.Parallel()
		p := c.probe(t, c.edit, true)
		c.act(p)
		for _, leak := range p.leaks(c.also) {
			t.Errorf("leak: %s", leak)
		}
		p.prove(c.proof)
	})
	t.Run("the oracles fire without it", func(t *testing.T) {
		t.Parallel()
		p := c.probe(t, c.leaky, c.leaky != nil)
		p.control = true
		c.act(p)
		if leaks := p.leaks(c.also); len(leaks) == 0 {
			t.Error("no leak was seen in a world that leaks")
		}
	})
}

func (c leakCase) probe(t *testing.T, edit func(*home, string) string, run bool) *probe {
	t.Helper()
	h := newHouse(t, c.options)
	if run {
		text := h.ConfigText(c.config)
		if edit != nil {
			text = edit(h, text)
		}
		h.configure(text)
		h.start()
	}
	return newProbe(t, h)
}

func newProbe(t *testing.T, h *home) *probe {
	t.Helper()
	capture, err := h.CaptureWAN()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { capture.Close() })
	return &probe{home: h, t: t, label: canary(), capture: capture, began: len(h.ISPLog())}
}

// canary is a label that is nowhere else.
func canary() string {
	var b [8]byte
	rand.Read(b[:])
	return "zq" + hex.EncodeToString(b[:])
}

// name is a name with the canary that goes to the node.
func (p *probe) name() string { return p.label + ".foreign.example" }

// leaks is what the WAN's side learned: from the captured packets, where no name
// but direct ones may be asked and no canary seen, and from the ISP's own log.
func (p *probe) leaks(also []string) (leaks []string) {
	p.t.Helper()
	packets, err := p.capture.Packets()
	if err != nil {
		p.t.Fatal(err)
	}
	sorter := p.Sorter(p.label)
	sorter.Names = append(sorter.Names, also...)
	for _, f := range lab.Leaks(sorter.Classify(packets)) {
		leaks = append(leaks, f.String())
	}
	for _, q := range p.ISPLog()[p.began:] {
		if !allowed(q.Name, sorter.Names) || carries(q.Raw, p.label) {
			leaks = append(leaks, fmt.Sprintf("the ISP was asked for %s over %s", q.Name, q.Network))
		}
	}
	return leaks
}

func allowed(name string, names []string) bool {
	for _, n := range names {
		if name == n || strings.HasSuffix(name, "."+n) {
			return true
		}
	}
	return false
}

func carries(b []byte, label string) bool { return bytes.Contains(bytes.ToLower(b), []byte(label)) }

// prove looks for the canary where it should be.
func (p *probe) prove(want proof) {
	p.t.Helper()
	seen := ""
	for _, q := range p.NodeResolverLog() {
		if carries(q.Raw, p.label) {
			seen = "the honest resolver, asked for " + q.Name
		}
	}
	for _, v := range p.NodeLog() {
		if strings.Contains(v.Target, p.label) {
			seen = "the node, asked for " + v.Target
		}
	}
	switch {
	case want == throughNode && seen == "":
		p.t.Error("the canary did not come through the node; then it proves nothing that nobody else saw it")
	case want == nobody && seen != "":
		p.t.Errorf("the canary was seen by %s; want it seen by nobody", seen)
	}
}

// check reports what went wrong in a world that should work.
func (p *probe) check(err error) {
	p.t.Helper()
	if err != nil && !p.control {
		p.t.Error(err)
	}
}

// ask has a client ask the router.
func (p *probe) ask(client, name string, qtype uint16) lab.Answer {
	p.t.Helper()
	return p.askAt(client, p.At.RouterLAN.V4, name, qtype, "udp")
}

func (p *probe) askAt(client string, server netip.Addr, name string, qtype uint16, network string) lab.Answer {
	p.t.Helper()
	a, err := p.Clients[client].Lookup(p.ctx(), server, name, qtype, network)
	p.check(err)
	return a
}

// rcode compares the answer's in a world that should work.
func (p *probe) rcode(a lab.Answer, want int) {
	p.t.Helper()
	if !p.control && a.RCode != want {
		p.t.Errorf("rcode = %d, want %d", a.RCode, want)
	}
}

// visit has a client look up a URL's host and get it.
func (p *probe) visit(client, url string) {
	p.t.Helper()
	_, err := p.Clients[client].GetHTTP(p.ctx(), url)
	p.check(err)
}

// send has a client send one datagram to an address, from which nothing may come.
func (p *probe) send(client string, to netip.AddrPort, payload string) {
	p.t.Helper()
	c, err := p.Clients[client].ListenUDP(to.Addr().Is4())
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteToUDPAddrPort([]byte(payload), to); err != nil {
		p.t.Logf("sending to %s: %v", to, err)
	}
}

// remoteIsISP is the mistake that all others come to: names that leave through
// the node are asked of the ISP.
func remoteIsISP(_ *home, text string) string {
	return replaced(text, "option remote_upstream 'remote'", "option remote_upstream 'isp'")
}

// replaced is strings.Replace that does not silently do nothing.
func replaced(text, old, new string) string {
	if !strings.Contains(text, old) {
		panic("the configuration does not contain " + old)
	}
	return strings.Replace(text, old, new, 1)
}

func isFake(a netip.Addr) bool {
	return netip.MustParsePrefix("198.18.0.0/15").Contains(a) || netip.MustParsePrefix("2001:2::/64").Contains(a)
}

// until does something again until it is so, and fails when it takes too long.
func (p *probe) until(what string, so func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !so(); {
		if time.Now().After(end) {
			p.t.Fatalf("%s did not come about in %s", what, patience)
		}
	}
}
