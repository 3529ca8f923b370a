package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Disturbance is a deletion in our table that was not ours.
type Disturbance struct {
	By       uint32 // netlink port of who did it, as a rule the process's id; 0: unknown
	Elements bool   // elements were deleted, too, which Present does not see
}

// watchBuffer holds the events of a burst, such as the flush of a set with tens
// of thousands of names. The memory is only used then.
const watchBuffer = 4 << 20

// Watch calls disturbed for each deletion in our table that another socket
// asked for, until ctx ends. When events were lost, it calls it with a
// Disturbance that knows nothing. An error means that the kernel cannot be
// listened to any more; the caller listens anew.
func (t *Table) Watch(ctx context.Context, disturbed func(Disturbance)) error {
	c, err := t.listen()
	if err != nil {
		return fmt.Errorf("listening to nf_tables: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		events, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			disturbed(Disturbance{})
			continue
		case err != nil:
			return fmt.Errorf("listening to nf_tables: %w", err)
		}
		if d, ok := t.disturbance(events); ok {
			disturbed(d)
		}
	}
}

// listen opens a socket that hears of changes.
func (t *Table) listen() (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{
		NetNS: t.netns, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1),
	})
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(watchBuffer) // less will do, with more events lost
	if port := t.port(); port != 0 {
		_ = ignore(c, port) // disturbance ignores it, too
	}
	return c, nil
}

// ignore has the kernel keep back the events of what one socket did. All events
// in a datagram are of one transaction, so the first tells for all. Hearing of our
// own changes was a twentieth of what each of them costs.
func ignore(c *netlink.Conn, port uint32) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	const portAt = 12 // in struct nlmsghdr
	inNetworkOrder := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, port))
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: portAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: inNetworkOrder, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
	}
	filter := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter)
	})
	return errors.Join(err, failed)
}

// disturbance sums up what others deleted in our table.
func (t *Table) disturbance(events []netlink.Message) (d Disturbance, found bool) {
	own := t.port()
	for _, e := range events {
		elements, deletion := deletes(e)
		if !deletion || e.Header.PID == own || e.Header.PID == 0 || tableOf(e) != TableName {
			continue
		}
		d.By = e.Header.PID
		d.Elements = d.Elements || elements
		found = true
	}
	return d, found
}

// deletes tells the events that take something away.
func deletes(e netlink.Message) (elements, ok bool) {
	if e.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false, false
	}
	switch e.Header.Type & 0xff {
	case unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELSET:
		return false, true
	case unix.NFT_MSG_DELSETELEM:
		return true, true
	}
	return false, false
}

// tableOf is the name of the table that an event is about: attribute 1 of every
// kind of them (linux/netfilter/nf_tables.h).
func tableOf(e netlink.Message) string { return attributeText(e, unix.NFTA_TABLE_NAME) }

// port is the netlink port that our own transactions come from; 0: none yet.
func (t *Table) port() (port uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wire.conn == nil {
		return 0
	}
	raw, err := t.wire.conn.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		if sa, err := unix.Getsockname(int(fd)); err == nil {
			if nl, ok := sa.(*unix.SockaddrNetlink); ok {
				port = nl.Pid
			}
		}
	})
	return port
}
