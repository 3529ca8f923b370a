package main

import (
	"bufio"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// An address rule that no name can overrule is carried out without the daemon.
func TestAddressRulesAreCarriedOutByTheKernel(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Default: "node", Rules: `
config rule 'known'
	list ip '198.51.100.10'
	list ip '2001:db8:51::10'
	option outbound 'direct'

config rule 'never'
	list ip '198.51.100.40'
	option outbound 'reject'

config rule 'foreign'
	list domain 'foreign.example'
	option outbound 'node'

config rule 'late'
	list ip '198.51.100.20'
	option outbound 'direct'
`})
	eachFamily(t, func(t *testing.T, f family) {
		for _, name := range []string{"laptop", "tv"} {
			conn := h.dialTCP(t, h.Clients[name], at(f.of(h.At.Domestic), lab.BannerPort))
			if got := h.pathOf(conn.LocalAddr(), banner(t, conn)); got != byKernel {
				t.Errorf("%s: a flow to an address of a direct rule was %s, want %s", name, got, byKernel)
			}
		}
	})
	if h.reaches("laptop", at(h.At.Blocked.V4, 80)) {
		t.Error("an address of a reject rule is reached")
	}
	// A name of the rule before it could send a flow to this one elsewhere.
	seen, err := h.Clients["tv"].GetHTTPAt(h.ctx(), h.At.Foreign.V4, "http://www.foreign.example/")
	ok(t, err)
	if !h.At.Node.Is(seen.Client.Addr()) {
		t.Errorf("a foreign name at an address of a later direct rule was seen from %s, want the node", seen.Client)
	}
	if s := h.status(t); s.Outbounds["direct"].TxBytes+s.Outbounds["direct"].RxBytes != 0 {
		t.Errorf("the daemon carried %+v directly, want nothing", s.Outbounds["direct"])
	}
}

// banner reads whom a server that speaks first saw.
func banner(t *testing.T, conn net.Conn) netip.AddrPort {
	t.Helper()
	line, err := bufio.NewReader(conn).ReadString('\n')
	ok(t, err)
	who, err := netip.ParseAddrPort(strings.TrimSpace(line))
	ok(t, err)
	return who
}
