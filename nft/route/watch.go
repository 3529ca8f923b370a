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

// Change is an event after which Apply may have something to do.
type Change struct {
	By uint32 // netlink port of who deleted a rule or route of ours, as a rule the process's id; 0: nobody did
}

// Watch calls changed whenever a link or an address of this machine changes, and
// whenever a rule or route of ours is deleted, by us too, until ctx ends. It
// calls it at its start and when events were lost: who is called looks for
// itself. An error means that the kernel cannot be listened to any more; the
// caller listens anew.
func Watch(ctx context.Context, changed func(Change)) error {
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
	changed(Change{})
	for {
		events, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			changed(Change{})
			continue
		case err != nil:
			return fmt.Errorf("listening to routes: %w", err)
		}
		for _, e := range events {
			if change, ok := concerns(e); ok {
				changed(change)
			}
		}
	}
}

// concerns tells the events that matter. The routes of others do not: a routing
// daemon changes thousands.
func concerns(e netlink.Message) (c Change, ok bool) {
	switch e.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return Change{}, true
	case unix.RTM_DELROUTE:
		const protocol = 5 // of struct rtmsg (rtnetlink(7))
		ok = len(e.Data) > protocol && e.Data[protocol] == Tag
	case unix.RTM_DELRULE:
		rules, _ := parseAll([][]byte{e.Data}, sizeofRuleHeader, parseRule)
		ok = len(rules) == 1 && rules[0].tag == Tag
	}
	return Change{By: e.Header.PID}, ok
}
