package main

import (
	"context"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// settle is how long a burst of address changes is waited for: an interface
	// that comes up brings several.
	settle = 100 * time.Millisecond
	// rewatch is how long a broken subscription waits before it is made anew.
	rewatch = 250 * time.Millisecond
)

// watchAddresses follows this machine's addresses until ctx ends. A broken
// subscription is made anew, and the addresses listed again.
func (d *daemon) watchAddresses(ctx context.Context) error {
	for ctx.Err() == nil {
		d.followAddresses(ctx)
		wait(ctx, rewatch)
	}
	return nil
}

func (d *daemon) followAddresses(ctx context.Context) {
	updates := make(chan netlink.AddrUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{
		ErrorCallback: func(err error) { d.log.Debug("following addresses", "err", err) },
	})
	if err != nil {
		d.log.Warn("following this machine's addresses", "err", err)
		return
	}
	d.addressesChanged(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-updates:
			if !ok {
				return
			}
			drain(ctx, updates)
			d.addressesChanged(ctx)
		}
	}
}

// drain takes what comes until it is quiet for a moment, at most five of them.
func drain(ctx context.Context, updates <-chan netlink.AddrUpdate) {
	end := time.After(5 * settle)
	for {
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case <-time.After(settle):
			return
		case _, ok := <-updates:
			if !ok {
				return
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
