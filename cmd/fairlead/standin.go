package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/upstream"
	"github.com/fairlead/fairlead/gateway/tproxy"
	"github.com/fairlead/fairlead/openwrt/dnsmasq"
)

// Under `option dnsmasq 'replace'` the daemon listens on port 53 itself. What
// is diverted never comes there: the router's own questions do, those of clients
// whose mode is off, and those of networks that are not served.

const (
	// standInEvery is how soon a change of dnsmasq's configuration, or of ours,
	// is followed.
	standInEvery = time.Second
	// restartTime bounds a restart of dnsmasq: its init script looks for other
	// DHCP servers on each network for some seconds.
	restartTime = 20 * time.Second
	// letGoTime is how long dnsmasq may take to let go of its port after that.
	letGoTime = 5 * time.Second
	// letGoEvery is how often it is tried.
	letGoEvery = 20 * time.Millisecond
	portDNS    = 53
)

// standIn is the daemon in the place of dnsmasq's DNS.
type standIn struct {
	dnsmasq dnsmasq.System
	record  string      // where it stands what was changed of dnsmasq
	here    atomic.Bool // whether port 53 is ours
	close   func()      // ends the listeners; nil while there are none
	broken  chan error  // why a listener ended by itself
}

func newStandIn(system dnsmasq.System, stateDir string) *standIn {
	return &standIn{dnsmasq: system, record: filepath.Join(stateDir, "dnsmasq"), broken: make(chan error, 1)}
}

// giveBack has dnsmasq answer again, if its place was taken.
func (s *standIn) giveBack() error {
	s.stopAnswering()
	ctx, cancel := context.WithTimeout(context.Background(), restartTime)
	defer cancel()
	return s.dnsmasq.GiveBack(ctx, s.record)
}

// standIn does what main.dnsmasq says until ctx ends, and then gives dnsmasq its
// DNS back. What failed is tried again after a reload, and when dnsmasq has
// another configuration.
func (d *daemon) standIn(ctx context.Context) error {
	t := time.NewTicker(standInEvery)
	defer t.Stop()
	done, held := "nothing yet", true
	var tried *generation
	for {
		if wanted, gen := d.standInWanted(); wanted != done || !held && gen != tried {
			done, tried = wanted, gen
			held = d.settleStandIn(ctx, wanted != "")
		}
		select {
		case <-ctx.Done():
			return d.inPlace.giveBack()
		case err := <-d.inPlace.broken:
			held = false
			d.yieldPlace(err)
		case <-t.C:
		}
	}
}

// standInWanted is empty where dnsmasq is to be kept, and else different for
// each configuration of it.
func (d *daemon) standInWanted() (string, *generation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.gen.cfg.Replace {
		return "", d.gen
	}
	return "replace\n" + d.inPlace.dnsmasq.Generated(), d.gen
}

// settleStandIn takes dnsmasq's place or gives it back, and tells whether it is
// as wanted.
func (d *daemon) settleStandIn(ctx context.Context, replace bool) (held bool) {
	var cause error
	if replace {
		cause = d.takePlace(ctx)
	}
	switch {
	case ctx.Err() != nil:
	case replace && cause == nil:
		d.warnOfPlace()
	default:
		d.yieldPlace(cause)
	}
	return cause == nil
}

// yieldPlace gives dnsmasq its place back; cause is why, if it was not to be.
// Clients are diverted either way.
func (d *daemon) yieldPlace(cause error) {
	var warnings []string
	if cause != nil {
		warnings = append(warnings, fmt.Sprintf("option dnsmasq 'replace' is not carried out, and dnsmasq answers as before: %v", cause))
	}
	if err := d.inPlace.giveBack(); err != nil {
		warnings = append(warnings, err.Error())
	}
	d.warnOfPlace(warnings...)
}

func (d *daemon) warnOfPlace(warnings ...string) {
	for _, w := range warnings {
		d.log.Error(w)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.placeWarnings = warnings
}

// takePlace switches dnsmasq's DNS off and listens in its place as soon as it
// has let go of the port.
func (d *daemon) takePlace(ctx context.Context) error {
	s := d.inPlace
	restarting, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	restarted, err := s.dnsmasq.Take(restarting, s.record)
	if err != nil || s.close != nil {
		return err
	}
	if !restarted && d.answerHere(ctx, 0) == nil {
		return nil // as it was left by one of us that did not end well
	}
	if !restarted {
		if err := s.dnsmasq.Service.Restart(restarting); err != nil {
			return err
		}
	}
	return d.answerHere(ctx, letGoTime)
}

// answerHere opens port 53, waiting for it at most so long, and answers there.
func (d *daemon) answerHere(ctx context.Context, patience time.Duration) error {
	var l listeners
	for began := time.Now(); ; wait(ctx, letGoEvery) {
		err := l.openDNS(ctx)
		if err == nil {
			break
		}
		l.close()
		l = listeners{}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Since(began) > patience || ctx.Err() != nil {
			return fmt.Errorf("port 53 is not free: %w", err)
		}
	}
	d.inPlace.here.Store(true)
	d.serveHere(l)
	d.log.Info("answering on port 53 in dnsmasq's place")
	return nil
}

// openDNS opens port 53 on all addresses: who may ask is told by near.
func (l *listeners) openDNS(ctx context.Context) error {
	for _, host := range loopbacks() {
		any := netip.IPv4Unspecified()
		if host.Is6() {
			any = netip.IPv6Unspecified()
		}
		at := netip.AddrPortFrom(any, portDNS)
		// UDP last: it may be shared with somebody who has it on one address only.
		tcp, err := tproxy.ListenTCP(ctx, at)
		if err != nil {
			return err
		}
		l.dnsTCP = append(l.dnsTCP, tcp)
		udp, err := tproxy.ListenUDP(ctx, at)
		if err != nil {
			return err
		}
		l.dnsUDP = append(l.dnsUDP, udp)
	}
	return nil
}

// serveHere answers until stopAnswering.
func (d *daemon) serveHere(l listeners) {
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serve := func(part func() error) {
		serving.Add(1)
		go func() {
			defer serving.Done()
			if err := part(); err != nil {
				select {
				case d.inPlace.broken <- fmt.Errorf("answering on port 53: %w", err):
				default: // one is reason enough
				}
			}
		}()
	}
	for _, tcp := range l.dnsTCP {
		serve(func() error { return d.router.ServeTCP(ctx, nearStreams{tcp, d.own.near}, d.own.stranger) })
	}
	for _, udp := range l.dnsUDP {
		serve(func() error { return d.router.ServeUDP(ctx, nearPackets{udp, d.own.near}, d.sender, d.own.stranger) })
	}
	d.inPlace.close = func() {
		cancel()
		serving.Wait()
		l.close()
	}
}

func (s *standIn) stopAnswering() {
	if s.close != nil {
		s.close()
		s.close = nil
	}
	select {
	case <-s.broken: // of the listeners that are gone
	default:
	}
	s.here.Store(false)
}

// nearPackets are those of askers on networks of this machine. Others are not
// answered, as by dnsmasq with localservice.
type nearPackets struct {
	*tproxy.UDPListener
	near func(netip.Addr) bool
}

// Read gives the next question of an asker who is near.
func (p nearPackets) Read() (payload []byte, client, server netip.AddrPort, err error) {
	for {
		payload, client, server, err = p.UDPListener.Read()
		if err != nil || p.near(client.Addr()) {
			return payload, client, server, err
		}
	}
}

// nearStreams are the same over TCP.
type nearStreams struct {
	*net.TCPListener
	near func(netip.Addr) bool
}

// Accept gives the next connection of an asker who is near, and closes others.
func (s nearStreams) Accept() (net.Conn, error) {
	for {
		c, err := s.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if client, _ := tproxy.Endpoints(c); s.near(client.Addr()) {
			return c, nil
		}
		c.Close()
	}
}

// neighbour is the dnsmasq that is kept.
type neighbour struct {
	*upstream.Upstream
	standIn *standIn
}

// Here says whether dnsmasq has its DNS: not while its place is taken.
func (n neighbour) Here() bool { return !n.standIn.here.Load() }
