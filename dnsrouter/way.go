package dnsrouter

import "github.com/fairlead/fairlead/gateway/policy"

// Way is how a flow leaves, as the kernel knows it: the number of the mark that
// it bears. From FirstInterface on they are interfaces.
type Way uint8

// The ways that there always are.
const (
	Relayed        Way = 1 // by the daemon: a name, or a node, has to be dealt with
	Direct         Way = 2
	FirstInterface Way = 3
)

// kernelWay is the one way that the kernel can carry all flows by of which so
// much is known, and Relayed if there is none.
func (p *Plan) kernelWay(w policy.Ways) Way {
	switch {
	case w.AllDirect:
		return Direct
	case !w.Open && !w.NeedsAddr && w.First.Kind == policy.Interface:
		return max(p.Interfaces[w.First.Outbound], Relayed)
	}
	return Relayed
}

// fakeWay is the kernel's way of a name's fake addresses, which all clients in
// mode fakeip share: theirs if it is the same for all, and Relayed otherwise, so
// that the daemon sees to each client's own.
func (p *Plan) fakeWay(name string) Way {
	var way Way
	for c := range p.Policy.Clients() {
		client := policy.Client(c)
		if p.Policy.Mode(client) != policy.FakeIP || !p.learns(client) {
			continue
		}
		w := p.kernelWay(p.Policy.Name(client, name))
		if way != 0 && w != way {
			return Relayed
		}
		way = w
	}
	return max(way, Relayed)
}
