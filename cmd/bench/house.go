package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// house is a lab with agents in it. Whether fairlead runs in its router is all
// that two houses differ in.
type house struct {
	*lab.World
	tunnel *lab.Tunnel // the second way out
	daemon *lab.Daemon // nil: plain forwarding
	config string      // path of the daemon's
	client *agent
	server *agent
	node   *agent
}

// tunnelDevice is what the router calls its tunnel.
const tunnelDevice = "vpn0"

// startTime bounds what a house waits for.
const startTime = 20 * time.Second

// newHouse builds a house without fairlead. Bridge netfilter is off in it, as
// on a router whose kernel has none and as fairlead has it: it would make plain
// forwarding dearer.
func newHouse() (*house, error) {
	world, err := lab.New(lab.Options{Clients: []string{"laptop"}})
	if err != nil {
		return nil, err
	}
	h := &house{World: world}
	if err := h.furnish(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *house) furnish() (err error) {
	for _, ns := range []*nstest.NS{h.Router, h.Internet} {
		for _, family := range []string{"iptables", "ip6tables"} {
			ns.SetSysctl("net.bridge.bridge-nf-call-"+family, "0") // not every kernel has it
		}
	}
	// A short flow leaves a conntrack entry behind for two minutes, and the
	// kernel's table would be full after ten seconds of them.
	if err := h.Router.SetSysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", "1"); err != nil {
		return err
	}
	if err := h.dig(); err != nil {
		return err
	}
	if h.server, err = startAgent(h.Internet, "server", h.At.Domestic.V4); err != nil {
		return err
	}
	if h.node, err = startAgent(h.Node, "node", h.At.Foreign.V4); err != nil {
		return err
	}
	h.client, err = startAgent(h.Clients["laptop"].NS, "client", h.At.Domestic.V4)
	return err
}

// dig makes the tunnel, and the way back through it: the lab's router does not
// masquerade there, so fairlead does not do so either.
func (h *house) dig() (err error) {
	if h.tunnel, err = h.AddTunnel(tunnelDevice); err != nil {
		return err
	}
	return h.Internet.Route(netip.PrefixFrom(h.At.RouterLAN.V4, 24).Masked(), h.tunnel.Router.V4)
}

// routeThroughTunnel makes a router without fairlead send one host's packets
// through its tunnel, as an administrator would.
func (h *house) routeThroughTunnel() error {
	return h.Router.Route(netip.PrefixFrom(h.At.Foreign.V4, h.At.Foreign.V4.BitLen()), h.tunnel.Peer.V4)
}

// close ends everything in the house.
func (h *house) close() error {
	for _, a := range []*agent{h.client, h.node, h.server} {
		if a != nil {
			a.close()
		}
	}
	return h.World.Close()
}

// serve starts fairlead in the router and gives the time from its start until
// it serves.
func (h *house) serve(binary, logLevel string) (time.Duration, error) {
	var err error
	if h.config, err = h.WriteConfig(h.configuration(logLevel)); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	began := time.Now()
	if h.daemon, err = h.StartRouter(binary, h.config); err != nil {
		return 0, err
	}
	err = h.daemon.Ready(ctx)
	return time.Since(began), err
}

// stop ends fairlead as an administrator would.
func (h *house) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := h.daemon.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if _, err := h.daemon.Wait(ctx); err != nil {
		return err
	}
	h.daemon = nil
	return nil
}

// configuration has a rule for each way. What no rule matches is direct, but a
// name could say otherwise: so flows to addresses that DNS did not tell are
// looked into.
func (h *house) configuration(logLevel string) string {
	return h.ConfigText(lab.Config{
		Main: []string{"option log_level '" + logLevel + "'"},
		DNS:  []string{"list realip 'real.example'"},
		ISP:  h.resolver(), Node: netip.AddrPortFrom(h.At.Node.V4, nodePort),
		Rules: rules,
		More:  fmt.Sprintf(ways, h.tunnel.Dev, h.tunnel.Peer.V4, h.resolver(), h.At.Node.V4, nodePort),
	})
}

// ways are those out beside the node: the tunnel, and a node whose names are
// asked beyond it.
const ways = `
config outbound 'tunnel'
	option type 'interface'
	option device '%s'
	option gateway '%s'
	option upstream 'beyond'
	option masq '0'

config upstream 'beyond'
	list server 'udp://%s'
	option outbound 'tunnel'

config outbound 'far'
	option type 'socks5'
	option server '%s'
	option port '%d'
	option upstream 'beyond'
`

const rules = `
config rule 'real'
	list domain 'real.example'
	option outbound 'far'

config rule 'tunnelled'
	list domain 'tunnel.foreign.example'
	option outbound 'tunnel'

config rule 'domestic'
	list domain 'domestic.example'
	option outbound 'direct'

config rule 'foreign'
	list domain 'foreign.example'
	option outbound 'node'
`

// resolver is the one in the internet that costs little.
func (h *house) resolver() netip.AddrPort { return netip.AddrPortFrom(h.At.Domestic.V4, resolverPort) }

// routerDNS is where clients ask.
func (h *house) routerDNS() netip.AddrPort { return netip.AddrPortFrom(h.At.RouterLAN.V4, 53) }

// lookup asks the router, as a client does before it connects.
func (h *house) lookup(name string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	a, err := h.Clients["laptop"].Lookup(ctx, h.At.RouterLAN.V4, name, lab.TypeA, "udp")
	if err != nil {
		return netip.Addr{}, err
	}
	if len(a.Addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("%s has no address (code %d)", name, a.RCode)
	}
	return a.Addrs[0], nil
}

// dropOffloads makes every packet between the client and the internet one that
// fits a wire.
func (h *house) dropOffloads() error {
	client := h.Clients["laptop"]
	return errors.Join(
		dropOffloads(client.NS, client.Dev),
		dropOffloads(h.Router, "lan1", lab.WAN, lab.LAN, h.tunnel.Dev),
		dropOffloads(h.Internet, "subscriber", "hosting", "isp0", "tunnel"),
		dropOffloads(h.Node, "eth0"))
}
