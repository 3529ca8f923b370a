package lab

import (
	"net/netip"

	"github.com/fairlead/fairlead/nft/nstest"
)

// Tunnel is a second way from the router to the internet, as a WireGuard
// interface would be: what leaves there comes from another address.
type Tunnel struct {
	Dev    string
	Router Pair // the router's end, and whom the servers see
	Peer   Pair // the other end: the gateway

	world *World
}

// AddTunnel links the router's device dev with the internet.
func (w *World) AddTunnel(dev string) (*Tunnel, error) {
	t := &Tunnel{Dev: dev, world: w,
		Router: Pair{netip.MustParseAddr("203.0.114.2"), netip.MustParseAddr("2001:db8:9::2")},
		Peer:   Pair{netip.MustParseAddr("203.0.114.1"), netip.MustParseAddr("2001:db8:9::1")},
	}
	return t, t.Create()
}

// Create makes the link, again after Remove.
func (t *Tunnel) Create() error {
	w := t.world
	if err := nstest.Veth(nstest.End{NS: w.Router, Dev: t.Dev, MAC: mac(0x09, 2)}, nstest.End{NS: w.Internet, Dev: "tunnel", MAC: mac(0x09, 1)}); err != nil {
		return err
	}
	if err := give(w.Internet, "tunnel", t.Peer, 24, 64); err != nil {
		return err
	}
	return give(w.Router, t.Dev, t.Router, 24, 64)
}

// Remove takes the link away.
func (t *Tunnel) Remove() error { return t.world.Router.Delete(t.Dev) }
