package route

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchBuffer holds the events of a burst, such as a routing daemon's start.
const watchBuffer = 1 << 20

// Watch calls changed whenever a link, an address, a route or a rule of this
// machine changes, ours included, until ctx ends. It does not say what: who is
// called looks for itself, which also makes up for events that were lost. An
// error means that the kernel cannot be listened to any more; the caller
// listens anew.
func Watch(ctx context.Context, changed func()) error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("listening to routes: %w", err)
	}
	defer c.Close()
	for _, group := range []uint32{
		unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
	} {
		if err := c.JoinGroup(group); err != nil {
			return fmt.Errorf("listening to routes: %w", err)
		}
	}
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = c.SetReadBuffer(watchBuffer) // less will do, with more events lost
	changed()
	for {
		_, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("listening to routes: %w", err)
		}
		changed()
	}
}
