package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pace asks at the order's rate, by each socket in turn, whatever has been answered.
// Then it waits for what is still to come.
func (a *asking) pace(poll []unix.PollFd) error {
	gap := time.Second / time.Duration(a.order.Rate)
	end := a.began.Add(a.order.For)
	for due := a.began; due.Before(end) || a.underWay() > 0; {
		now := time.Now()
		if due.Before(end) && !now.Before(due) {
			if err := a.askOne(a.sockets[a.out.Sent%askSockets], now); err != nil {
				return err
			}
			due = due.Add(gap)
			continue
		}
		patience := lostAfter
		if due.Before(end) {
			patience = due.Sub(now)
		}
		n, err := a.listen(poll, patience)
		if err != nil || n == 0 && !due.Before(end) {
			return err
		}
	}
	return nil
}

func (a *asking) askOne(s *asker, now time.Time) error {
	a.put(s.bufs[0][:len(a.query)], a.out.Sent, now)
	n, err := s.send(1, len(a.query))
	if err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	a.out.Sent += n
	s.underWay += n
	return nil
}

// listen takes what comes first within the time, and tells on how many sockets.
func (a *asking) listen(poll []unix.PollFd, patience time.Duration) (int, error) {
	timeout := unix.NsecToTimespec(patience.Nanoseconds())
	n, err := unix.Ppoll(poll, &timeout, nil)
	if err == unix.EINTR {
		return 1, nil // nothing is known
	}
	for i, s := range a.sockets {
		if err == nil && poll[i].Revents != 0 {
			err = a.take(s)
		}
	}
	return n, err
}
