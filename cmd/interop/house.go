package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// startTime bounds what the house waits for.
const startTime = 20 * time.Second

// silenceTime is how long an answer may take that is not expected.
const silenceTime = 300 * time.Millisecond

// house is a lab whose router has both resolvers, with one server behind them.
type house struct {
	*lab.World
	authority *authority
	client    *lab.Client
	lan, wan  *nstest.Capture
}

func newHouse(fairlead, unbound string) (*house, error) {
	world, err := lab.New(lab.Options{Clients: []string{"laptop"}})
	if err != nil {
		return nil, err
	}
	h := &house{World: world, client: world.Clients["laptop"]}
	if err := h.furnish(fairlead, unbound); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *house) furnish(fairlead, unbound string) (err error) {
	if h.authority, err = startAuthority(h.Internet, h.server()); err != nil {
		return err
	}
	if h.lan, err = nstest.Start(h.Router, lab.LAN); err != nil {
		return err
	}
	if h.wan, err = h.CaptureWAN(); err != nil {
		return err
	}
	if err := h.startUnbound(unbound); err != nil {
		return err
	}
	return h.startFairlead(fairlead)
}

// server is where both resolvers ask.
func (h *house) server() netip.AddrPort { return netip.AddrPortFrom(h.At.Domestic.V4, 53) }

// fairlead is where clients ask.
func (h *house) fairlead() netip.AddrPort { return netip.AddrPortFrom(h.At.RouterLAN.V4, 53) }

func (h *house) startFairlead(binary string) error {
	config, err := h.WriteConfig(h.ConfigText(lab.Config{ISP: h.server(), Rules: `
config rule 'foreign'
	list domain 'foreign.example'
	option outbound 'node'
`}))
	if err != nil {
		return err
	}
	daemon, err := h.StartRouter(binary, config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return daemon.Ready(ctx)
}

// ask puts a question to a resolver. Silence is an answer, too; so is the end of
// a connection.
func (h *house) ask(q question, resolver netip.AddrPort) (reply, error) {
	ctx := context.Background()
	if q.silence {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, silenceTime)
		defer cancel()
	}
	raw, err := h.client.Exchange(ctx, resolver, q.msg, q.network)
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() || err != nil && q.network == "tcp" {
		return reply{}, nil
	}
	if err != nil {
		return reply{}, fmt.Errorf("asking %s for %s: %w", resolver, q, err)
	}
	return newReply(raw), nil
}
