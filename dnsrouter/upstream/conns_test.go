package upstream

import (
	"net/netip"
	"testing"
	"time"
)

func TestAConnectionFromALostAddressIsNotWaitedFor(t *testing.T) {
	bySlowNode(t, 0, func(t *testing.T, node *slow, u *Upstream) {
		wantAddress(t, u, "a.example", right)
		node.halfOpen()
		u.Drop(func(netip.Addr) bool { return true })
		began := time.Now()
		wantAddress(t, u, "b.example", right)
		if took := time.Since(began); took > 0 {
			t.Errorf("the question after the address was lost took %v, want no time", took)
		}
	})
}

func TestAConnectionFromALostAddressIsMadeAnew(t *testing.T) {
	secureServers(t, func(t *testing.T, scheme string, addr netip.AddrPort, ca *authority, seen *record) {
		t.Parallel()
		d := &way{}
		u := open(t, d, Options{TLS: ca.client()}, Server{Scheme: scheme, Host: "dns.test", Addr: addr})
		wantAddress(t, u, "a.example", right)
		u.Drop(func(netip.Addr) bool { return false })
		wantAddress(t, u, "b.example", right)
		overConnections(t, d, scheme, 1)
		d.halfOpen()
		var asked netip.Addr
		u.Drop(func(a netip.Addr) bool { asked = a; return true })
		wantAddress(t, u, "c.example", right)
		overConnections(t, d, scheme, 2)
		if want := netip.MustParseAddr("127.0.0.1"); asked != want {
			t.Errorf("Drop asked for %s, want %s", asked, want)
		}
	})
}

func TestConnectionsThatEndAreForgotten(t *testing.T) {
	addr, s := serveTCP(t, anyPort, nil, answers(right))
	u := open(t, &way{}, Options{}, Server{Scheme: "tcp", Addr: addr})
	wantAddress(t, u, "a.example", right)
	s.closeAll()
	eventually(t, "the connection to be forgotten", func() bool { return u.env.conns.count() == 0 })
}

func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
