package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/gateway"
	"github.com/fairlead/fairlead/gateway/tproxy"
	"github.com/fairlead/fairlead/nft"
	"github.com/fairlead/fairlead/nft/mark"
	"github.com/fairlead/fairlead/nft/route"
	"github.com/fairlead/fairlead/openwrt/config"
)

// handBack gives UDP flows back to the kernel: the tuple first, so that the
// flow is let through when it begins anew, and then the conntrack entry goes by
// which it was ours.
type handBack struct {
	table *nft.Table
	flows *route.Conntrack
	own   *ownAddresses
	log   *slog.Logger
}

// HandBack has the kernel carry the flow from its next datagram on.
func (h handBack) HandBack(client, dialled netip.AddrPort) error {
	if err := h.table.HandBack(client, dialled); err != nil {
		return err
	}
	return h.flows.DeleteFlow(client, dialled)
}

// Resend sends datagrams from the client's own address, with the mark of our sockets.
func (h handBack) Resend(client, dialled netip.AddrPort, datagrams [][]byte) error {
	return tproxy.Resend(client, dialled, datagrams, mark.Own)
}

// Unmask finds the client of a flow that seems to come from this machine, and
// has the kernel forget the entry by which it was masqueraded: with that entry
// it could neither be handed back nor be told whose it is.
func (h handBack) Unmask(client, dialled netip.AddrPort) netip.AddrPort {
	if !h.own.has(client.Addr()) {
		return client
	}
	origin, ok, err := h.flows.Origin(unix.IPPROTO_UDP, client, dialled)
	if err == nil && ok && origin != client {
		err = h.flows.DeleteFlow(origin, dialled)
		client = origin
	}
	if err != nil {
		h.log.Debug("looking for whom a flow is of", "err", err)
	}
	return client
}

// clientPackets are questions with the client that asked each.
type clientPackets struct {
	*tproxy.UDPListener
	back gateway.HandBack // may be nil
}

// Read gives the next question; see gateway.HandBack.Unmask.
func (p clientPackets) Read() (payload []byte, client, server netip.AddrPort, err error) {
	payload, client, server, err = p.UDPListener.Read()
	if err == nil && p.back != nil {
		client = p.back.Unmask(client, server)
	}
	return payload, client, server, err
}

// openConntrack readies the handing back of flows. Without nf_conntrack_netlink
// they stay with the daemon, and doctor says so.
func (d *daemon) openConntrack(context.Context, *config.Config) (err error) {
	d.flows, err = route.OpenConntrack()
	if errors.Is(err, route.ErrNoConntrack) {
		d.log.Warn("direct UDP flows that had to be sniffed stay with fairlead", "cause", err)
		return nil
	}
	return err
}

// taker is who takes flows back: nil without nf_conntrack_netlink.
func (d *daemon) taker() gateway.HandBack {
	if d.flows == nil {
		return nil
	}
	return handBack{d.table, d.flows, &d.own, d.log}
}
