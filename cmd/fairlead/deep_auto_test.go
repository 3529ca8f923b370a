package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// The upstream auto asks whom the WAN announced, and follows when that changes;
// a loopback address in resolv.conf would be this router itself.
func TestTheUpstreamAutoAsksTheResolversOfTheWAN(t *testing.T) {
	h := newHouse(t, lab.Options{})
	h.configure(replaced(h.ConfigText(lab.Config{}), "option local_upstream 'isp'", "option local_upstream 'auto'"))
	announced := filepath.Join(h.Dir, "resolv.conf")
	announce := func(server string) {
		t.Helper()
		ok(t, os.WriteFile(announced, []byte("# a comment\nsearch lan\nnameserver 127.0.0.1\nnameserver "+server+"\n"), 0o600))
	}
	announce(h.At.ISP.V4.String())
	over := make(map[string]string)
	for _, path := range resolvConfs() {
		if _, err := os.Stat(path); err == nil {
			over[path] = announced
		}
	}
	h.startPrepared(t, preparation{Over: over})

	p := newProbe(t, h)
	for _, server := range []lab.Pair{h.At.ISP, h.At.Public} {
		announce(server.V4.String())
		before := len(h.ISPLog())
		name := "to-" + server.V4.String() + ".domestic.example"
		if a := p.ask("laptop", name, lab.TypeA); len(a.Addrs) != 1 || a.Addrs[0] != h.At.Domestic.V4 {
			t.Errorf("answer = %v, want %s", a.Addrs, h.At.Domestic.V4)
		}
		log := h.ISPLog()[before:]
		if len(log) == 0 {
			t.Errorf("%s was not asked", server.V4)
		}
		for _, q := range log {
			if q.Server.Addr() != server.V4 || q.Name != name {
				t.Errorf("%s was asked for %s, want %s asked for %s", q.Server, q.Name, server.V4, name)
			}
		}
	}
	p.ask("tv", p.name(), lab.TypeA)
	for _, q := range h.ISPLog() {
		if carries(q.Raw, p.label) {
			t.Errorf("the WAN's resolver was asked for %s", q.Name)
		}
	}
}
