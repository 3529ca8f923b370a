package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	askSockets  = 20
	outstanding = 100 // questions under way, of all sockets
	each        = outstanding / askSockets
	// lostAfter is how long an answer may take.
	lostAfter = time.Second
	// digits is how long the number in a name is.
	digits = 7
)

// asking is a load of questions under way.
type asking struct {
	order   order
	began   time.Time
	query   []byte // of the name with the number zero
	at      int    // where its number is
	sockets [askSockets]*asker
	sent    [1 << 16]time.Time // by id; zero: not under way
	times   []time.Duration
	out     outcome
}

type asker struct {
	*batchIO
	underWay int
}

// ask keeps questions under way until the time is over, or each name was asked
// once.
func ask(o order) (outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a := &asking{order: o, query: query(o.Name), began: time.Now()}
	a.at = strings.Index(string(a.query), strings.Repeat("0", digits))
	if a.at < 0 || len(a.query) > maxDatagram {
		return outcome{}, fmt.Errorf("the name %s has no place for a number", o.Name)
	}
	poll, err := a.open(o.To)
	defer a.close()
	if err != nil {
		return outcome{}, err
	}
	run := a.run
	if o.Rate > 0 {
		run = a.pace
	}
	if err := run(poll); err != nil {
		return a.out, err
	}
	a.out.Elapsed = time.Since(a.began)
	a.out.P50, a.out.P99 = quantiles(a.times)
	return a.out, nil
}

func (a *asking) open(to netip.AddrPort) ([]unix.PollFd, error) {
	var poll []unix.PollFd
	for i := range a.sockets {
		fd, err := connectedUDP(to)
		if err != nil {
			return nil, err
		}
		a.sockets[i] = &asker{batchIO: newBatchIO(fd, true)}
		poll = append(poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return poll, nil
}

func (a *asking) close() {
	for _, s := range a.sockets {
		if s != nil {
			unix.Close(s.fd)
		}
	}
}

// run takes answers and asks on, until nothing is under way any more. It stops
// waiting when nothing comes.
func (a *asking) run(poll []unix.PollFd) error {
	for _, s := range a.sockets {
		if err := a.refill(s); err != nil {
			return err
		}
	}
	for a.underWay() > 0 {
		n, err := unix.Poll(poll, int(lostAfter.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		for i, s := range a.sockets {
			if poll[i].Revents == 0 {
				continue
			}
			if err := a.take(s); err != nil {
				return err
			}
			if err := a.refill(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *asking) underWay() (n int) {
	for _, s := range a.sockets {
		n += s.underWay
	}
	return n
}

// take reads the answers that a socket has.
func (a *asking) take(s *asker) error {
	n, err := s.receive(unix.MSG_DONTWAIT)
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil
	}
	if err != nil {
		return fmt.Errorf("receiving answers: %w", err)
	}
	now := time.Now()
	for i := range n {
		a.hear(s, s.received(i), now)
	}
	return nil
}

func (a *asking) hear(s *asker, msg []byte, now time.Time) {
	if len(msg) < 12 {
		return
	}
	began := &a.sent[binary.BigEndian.Uint16(msg)]
	if began.IsZero() {
		return // it came twice
	}
	a.times = append(a.times, now.Sub(*began))
	*began = time.Time{}
	s.underWay--
	a.out.Count++
	if rcode, answers := msg[3]&15, binary.BigEndian.Uint16(msg[6:]); rcode != 0 || answers == 0 {
		a.out.Errors++
		a.out.Why = fmt.Sprintf("code %d with %d answers", rcode, answers)
	}
}

// refill asks as much on a socket as may be under way.
func (a *asking) refill(s *asker) error {
	n := each - s.underWay
	if a.order.Alone {
		n = 1 - a.underWay()
	}
	if a.order.Once {
		n = min(n, a.order.Names-a.out.Sent)
	} else if time.Since(a.began) >= a.order.For {
		return nil
	}
	if n <= 0 {
		return nil
	}
	now := time.Now()
	for i := range n {
		a.put(s.bufs[i][:len(a.query)], a.out.Sent+i, now)
	}
	n, err := s.send(n, len(a.query))
	if err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	a.out.Sent += n
	s.underWay += n
	return nil
}

// put writes the i-th question of the load.
func (a *asking) put(msg []byte, i int, now time.Time) {
	copy(msg, a.query)
	binary.BigEndian.PutUint16(msg, uint16(i))
	a.sent[uint16(i)] = now
	number := a.order.First + i%a.order.Names
	for at := a.at + digits - 1; at >= a.at; at-- {
		msg[at] = '0' + byte(number%10)
		number /= 10
	}
}

// query is a question for the A record of a name, as a stub resolver asks.
func query(name string) []byte {
	b := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0, 0, 1, 0, 1)
}
