package main

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// question is one on the wire, with what a test wants to spoil.
func rawQuestion(flags uint16, counts [4]uint16, body ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xab, 0xcd}, flags)
	for _, n := range counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return append(b, bytes.Join(body, nil)...)
}

func TestABadQuestionIsNeitherSentOnNorFatal(t *testing.T) {
	const formErr, notImp, refused = 1, 4, 5
	h := newHome(t, lab.Options{}, lab.Config{})
	p := newProbe(t, h)
	good := append(wireName(p.name()), 0, lab.TypeA, 0, 1)
	one := [4]uint16{1, 0, 0, 0}
	option, optionV1 := []byte{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0}, []byte{0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 0}
	server := netip.AddrPortFrom(h.At.RouterLAN.V4, 53)
	for _, tt := range []struct {
		sentence string
		msg      []byte
		want     byte // the low bits of the rcode
	}{
		{"no question", rawQuestion(0x100, [4]uint16{}), formErr},
		{"two questions", rawQuestion(0x100, [4]uint16{2, 0, 0, 0}, good, good), formErr},
		{"a name that points at itself", rawQuestion(0x100, one, []byte{0xc0, 12, 0, 1, 0, 1}), formErr},
		{"octets behind the end", rawQuestion(0x100, one, good, []byte(p.label)), formErr},
		{"two OPT records", rawQuestion(0x100, [4]uint16{1, 0, 0, 2}, good, option, option), formErr},
		{"EDNS version 1", rawQuestion(0x100, [4]uint16{1, 0, 0, 1}, good, optionV1), 0}, // BADVERS is 16
		{"an update", rawQuestion(5<<11, one, good), notImp},
		{"no recursion wanted", rawQuestion(0, one, good), refused},
		{"64 KiB", rawQuestion(0x100, one, good, make([]byte, 65535-12-len(good))), formErr},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if network == "udp" && len(tt.msg) > 1400 {
				continue
			}
			t.Run(tt.sentence+" over "+network, func(t *testing.T) {
				reply, err := h.Clients["tv"].Exchange(h.ctx(), server, tt.msg, network)
				if err != nil {
					t.Fatal(err)
				}
				if len(reply) < 12 || reply[3]&0xf != tt.want {
					t.Errorf("reply = %x, want rcode %d", reply, tt.want)
				}
			})
		}
	}
	p.send("tv", server, string(rawQuestion(0x8100, one, good))) // a response: nobody answers
	p.rcode(p.ask("tv", "www.domestic.example", lab.TypeA), lab.NoError)
	for _, leak := range p.leaks(nil) {
		t.Errorf("leak: %s", leak)
	}
	p.prove(nobody)
}

func TestASlowClientOverTCPHoldsUpNobody(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	server := netip.AddrPortFrom(h.At.RouterLAN.V4, 53)
	for range 20 { // more than one client may have
		c, err := h.Clients["laptop"].DialTCP(h.ctx(), server)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{0xff}); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if _, err := h.Clients["tv"].Lookup(h.ctx(), server.Addr(), "www.domestic.example", lab.TypeA, "tcp"); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("another client's answer over TCP took %s", took)
	}
}

func TestEqualQuestionsAreAskedOnce(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	p := newProbe(t, h)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() { p.rcode(p.ask("tv", p.name(), lab.TypeA), lab.NoError) })
	}
	all.Wait()
	asked := map[string]int{}
	for _, q := range h.NodeResolverLog() {
		asked[q.Network]++ // over TCP, too, because the lab's resolver does not keep the letters' case
	}
	if asked["udp"] != 1 || asked["tcp"] > 1 {
		t.Errorf("30 equal questions were asked %v, want once", asked)
	}
}

func TestTheAnswerComesOverWhateverTheClientUses(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	for _, server := range []netip.Addr{h.At.RouterLAN.V4, h.At.RouterLAN.V6, h.At.Public.V4, h.At.Public.V6} {
		for _, network := range []string{"udp", "tcp"} {
			for name, want := range map[string]func(netip.Addr) bool{
				"www.foreign.example":  isFake,
				"www.domestic.example": h.At.Domestic.Is,
			} {
				for _, qtype := range []uint16{lab.TypeA, lab.TypeAAAA} {
					a, err := h.Clients["laptop"].Lookup(h.ctx(), server, name, qtype, network)
					if err != nil || len(a.Addrs) != 1 || !want(a.Addrs[0]) {
						t.Errorf("%s over %s, type %d of %s: %v, %v", server, network, qtype, name, a.Addrs, err)
					}
				}
			}
		}
	}
}

func TestAReloadChangesWhatNamesAreAnswered(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	p := newProbe(t, h)
	name := p.label + ".domestic.example"
	if a := p.ask("laptop", name, lab.TypeA); len(a.Addrs) != 1 || !h.At.Domestic.Is(a.Addrs[0]) {
		t.Fatalf("before: addresses = %v, want %s", a.Addrs, h.At.Domestic.V4)
	}
	asked := len(h.ISPLog())
	h.configure(h.ConfigText(lab.Config{Default: "node", Rules: rest}))
	if out, errs, code := h.command("reload"); code != 0 {
		t.Fatalf("reload: code %d: %s%s", code, out, errs)
	}
	if a := p.ask("laptop", name, lab.TypeA); len(a.Addrs) != 1 || !isFake(a.Addrs[0]) {
		t.Errorf("after: the laptop was told %v, want a fake address", a.Addrs)
	}
	if a := p.ask("tv", name, lab.TypeA); len(a.Addrs) != 1 {
		t.Errorf("after: the tv was told %v, want one address", a.Addrs)
	}
	if more := h.ISPLog()[asked:]; len(more) > 0 {
		t.Errorf("after the reload the ISP was asked for %s", more[0].Name)
	}
	p.prove(throughNode)
}
