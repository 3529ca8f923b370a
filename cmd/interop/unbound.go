package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// unboundPort keeps out of the way of what fairlead diverts.
const unboundPort = 5335

// unboundText has unbound ask the same server as fairlead, with the same bounds,
// and take out the same addresses. It asks from an address of its own, so that
// its packets can be told from fairlead's.
const unboundText = `
server:
	directory: "%[1]s"
	chroot: ""
	username: ""
	pidfile: ""
	use-syslog: no
	do-daemonize: no
	interface: %[2]s
	port: %[3]d
	outgoing-interface: %[4]s
	access-control: 0.0.0.0/0 allow
	module-config: "validator iterator"
	trust-anchor: "%[5]s"
	edns-buffer-size: 1232
	max-udp-size: 1232
	hide-identity: yes
	hide-version: yes
	ede: yes
	minimal-responses: yes
	aggressive-nsec: no
	cache-max-ttl: 86400
	cache-max-negative-ttl: 10800
	private-address: 0.0.0.0/8
	private-address: 10.0.0.0/8
	private-address: 100.64.0.0/10
	private-address: 127.0.0.0/8
	private-address: 169.254.0.0/16
	private-address: 172.16.0.0/12
	private-address: 192.168.0.0/16
	private-address: 198.18.0.0/15
	private-address: ::/128
	private-address: ::1/128
	private-address: ::ffff:a00:0/104
	private-address: ::ffff:7f00:0/104
	private-address: ::ffff:c0a8:0/112
	private-address: fc00::/7
	private-address: fe80::/10
forward-zone:
	name: "."
	forward-addr: %[6]s
remote-control:
	control-enable: no
`

// startUnbound runs unbound in the router, and waits until it answers.
func (h *house) startUnbound(path string) error {
	own := netip.MustParseAddr("203.0.113.3")
	if err := h.Router.Addr(lab.WAN, netip.PrefixFrom(own, 24)); err != nil {
		return err
	}
	file := filepath.Join(h.Dir, "unbound.conf")
	text := fmt.Sprintf(unboundText, h.Dir, h.unbound().Addr(), unboundPort, own, h.authority.trustAnchor(), h.server().Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	d, err := h.Run(exec.Command(path, "-d", "-p", "-c", file))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := h.await(ctx, h.unbound()); err != nil {
		return fmt.Errorf("%w:\n%s", err, d.Log())
	}
	return nil
}

func (h *house) unbound() netip.AddrPort { return netip.AddrPortFrom(h.At.RouterLAN.V4, unboundPort) }

// await asks a resolver until it answers.
func (h *house) await(ctx context.Context, resolver netip.AddrPort) error {
	for {
		trying, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		_, err := h.client.Exchange(trying, resolver, withCounts(0x100, [4]uint16{1, 0, 0, 0}, "\x09localhost\x00\x00\x01\x00\x01"), "udp")
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for an answer of %s: %w", resolver, err)
		case <-time.After(20 * time.Millisecond): // one that refuses does so at once
		}
	}
}
