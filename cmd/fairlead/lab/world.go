// Package lab builds a small world of network namespaces, clients, a router and
// an internet that poisons DNS, and says what each part of it saw.
package lab

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/fairlead/fairlead/nft/nstest"
)

// Devices of the router.
const (
	LAN = "br-lan"
	WAN = "wan0"
)

// Ports of the internet's servers beside 53, 80, 443 and 853 (DNS over TLS).
const (
	EchoPort   = 7    // TCP: once the client speaks, its address as a line, then all it sends; UDP: its address, a space, the datagram
	BannerPort = 2525 // TCP: the client's address as a line at once, then all it sends
	SOCKSPort  = 1080 // of the node
)

// User and Password are those of the node.
const (
	User     = "u"
	Password = "p"
)

// Options says how a world differs from the usual one. Its zero value is that.
type Options struct {
	// Clients are their names; laptop and tv if there are none. The first has
	// the MAC 02:00:00:00:77:01, the addresses 192.168.77.11 and
	// 2001:db8:77::11, and so on.
	Clients []string
	// Hosts are further names, with all their subdomains, and what is
	// rightly answered for them.
	Hosts map[string][]netip.Addr
	// Domestic are further names that the ISP answers rightly.
	Domestic []string
	// TTL is that of all answers, in seconds; 300 if 0.
	TTL uint32
	// NoResolver leaves port 53 of the router to somebody else.
	NoResolver bool
}

// World is a running lab:
//
//	clients --veth-- [br-lan router wan0] --veth-- [internet]
//	                                                  |
//	                                         [node, honest resolver]
//
// The router forwards and masquerades IPv4 like one without fairlead. All
// methods may be called from several goroutines.
type World struct {
	At       Addresses
	Clients  map[string]*Client
	Router   *nstest.NS
	Internet *nstest.NS
	Node     *nstest.NS // the SOCKS5 node, and the honest resolver that only it reaches
	Dir      string     // for the daemon's files; removed by Close

	isp, honest *resolver
	proxy       *proxy

	mu      sync.Mutex // guards the field below
	closers []func() error
}

// New builds a world. It takes some hundred milliseconds, and privilege
// (nstest.Enter).
func New(o Options) (*World, error) {
	w := &World{At: addresses(), Clients: make(map[string]*Client)}
	if err := w.build(o); err != nil {
		return nil, errors.Join(fmt.Errorf("building the lab: %w", err), w.Close())
	}
	return w, nil
}

func (w *World) build(o Options) (err error) {
	if w.Dir, err = os.MkdirTemp("", "fairlead"); err != nil {
		return err
	}
	w.later(func() error { return os.RemoveAll(w.Dir) })

	zone := newZone(w.At, o)
	if err := w.link(o.Clients); err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	if err := w.serveWeb(certificate); err != nil {
		return err
	}
	if err := w.serveDNS(zone, certificate); err != nil {
		return err
	}
	if err := w.serveRouter(!o.NoResolver); err != nil {
		return err
	}
	w.proxy = newProxy(w.Node, w.At.Node, zone.honest)
	w.later(w.proxy.stop)
	return w.StartNode()
}

// Close ends everything in the world, daemons first. Calling it again does nothing.
func (w *World) Close() error {
	w.mu.Lock()
	closers := w.closers
	w.closers = nil
	w.mu.Unlock()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errors.Join(errs...)
}

// later leaves something for Close to do, before what was left earlier.
func (w *World) later(f func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closers = append(w.closers, f)
}

// ISPLog is every question that the ISP's resolver was asked, in order, also
// those to public resolvers that it answered in their place.
func (w *World) ISPLog() []Query { return w.isp.log.all() }

// NodeResolverLog is every question that the honest resolver was asked. Names
// that the node resolves for itself are in NodeLog.
func (w *World) NodeResolverLog() []Query { return w.honest.log.all() }

// NodeLog is every target that the node was asked for.
func (w *World) NodeLog() []Visit { return w.proxy.log.all() }

// SilenceISP makes the ISP's resolver log questions but not answer them.
func (w *World) SilenceISP(silent bool) { w.isp.silent.Store(silent) }

// SilenceHonest makes the honest resolver log questions but not answer them.
func (w *World) SilenceHonest(silent bool) { w.honest.silent.Store(silent) }

// StopNode ends the node's server and its connections; new ones are refused.
func (w *World) StopNode() error { return w.proxy.stop() }

// StartNode starts the node's server again.
func (w *World) StartNode() error { return w.proxy.start() }

// CaptureWAN captures on the router's WAN until Close.
func (w *World) CaptureWAN() (*nstest.Capture, error) {
	c, err := nstest.Start(w.Router, WAN)
	if err != nil {
		return nil, err
	}
	w.later(c.Close)
	return c, nil
}

// serveDNS starts the resolvers: the ISP's, which also answers in the place of
// public ones, and the honest one.
func (w *World) serveDNS(z zone, certificate tls.Certificate) error {
	var poisoned []netip.Addr
	for _, p := range []Pair{w.At.ISP, w.At.Public} {
		poisoned = append(poisoned, p.V4, p.V6)
	}
	var err error
	if w.isp, err = serveResolver(w.Internet, poisoned, certificate, z.poisoned); err != nil {
		return fmt.Errorf("starting the ISP's resolver: %w", err)
	}
	w.later(w.isp.close)
	if w.honest, err = serveResolver(w.Node, []netip.Addr{w.At.Honest.V4, w.At.Honest.V6}, certificate, z.honest); err != nil {
		return fmt.Errorf("starting the honest resolver: %w", err)
	}
	w.later(w.honest.close)
	return nil
}
