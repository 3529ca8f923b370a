package main

import (
	"encoding/binary"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// datagramPort is where datagrams are counted.
const datagramPort = 9004

// burst is how many datagrams a sender without a limit hands over at once.
const burst = 16

// opening is how long a flow's first datagram is alone. While its way is being
// found only a few more are held, and no real flow begins at its highest rate.
const opening = 30 * time.Millisecond

// blast sends datagrams of one flow, each with the number of the run in front.
func blast(o order) (outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := connectedUDP(o.To)
	if err != nil {
		return outcome{}, err
	}
	defer unix.Close(fd)
	b := newBatchIO(fd, true)
	if _, err := b.send(1, o.Size); err != nil { // of no run
		return outcome{}, err
	}
	time.Sleep(opening)
	for i := range b.bufs {
		binary.BigEndian.PutUint64(b.bufs[i][:], o.Run)
	}
	var out outcome
	began := time.Now()
	for out.Elapsed = 0; out.Elapsed < o.For; out.Elapsed = time.Since(began) {
		due := burst
		if o.Rate > 0 {
			due = min(batch, int(out.Elapsed.Seconds()*float64(o.Rate))-out.Sent)
		}
		if due <= 0 {
			unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil)
			continue
		}
		n, err := b.send(due, o.Size)
		if err != nil && err != unix.ECONNREFUSED && err != unix.EINTR { // one ICMP error is told once
			return out, err
		}
		out.Sent += n
	}
	return out, nil
}

// echo sends one datagram after the other and waits for each to come back.
func echo(o order) (outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := connectedUDP(o.To)
	if err != nil {
		return outcome{}, err
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(int64(lostAfter))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return outcome{}, err
	}
	if _, err := there(fd, o.Size); err != nil { // the one that opens the flow
		return outcome{}, err
	}
	time.Sleep(opening)
	var out outcome
	var times []time.Duration
	began := time.Now()
	for out.Elapsed = 0; out.Elapsed < o.For; out.Elapsed = time.Since(began) {
		took, err := there(fd, o.Size)
		if err != nil {
			return out, err
		}
		times = append(times, took)
	}
	out.Count, out.Sent = len(times), len(times)
	out.P50, out.P99 = quantiles(times)
	return out, nil
}

// there is the time of one datagram there and back.
func there(fd, size int) (time.Duration, error) {
	var b [maxDatagram]byte
	began := time.Now()
	if _, err := unix.Write(fd, b[:size]); err != nil {
		return 0, err
	}
	for {
		_, err := unix.Read(fd, b[:])
		if err != unix.EINTR {
			return time.Since(began), err
		}
	}
}

// sink counts the datagrams of each run.
type sink struct {
	mu   sync.Mutex // guards the field below
	runs map[uint64]*volley
}

// volley is what has come of a run.
type volley struct {
	count       int
	first, last time.Time
}

// of tells how many datagrams of a run have come, and in what time.
func (s *sink) of(number uint64) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runs[number]
	if r == nil {
		return outcome{}
	}
	return outcome{Count: r.count, Elapsed: r.last.Sub(r.first)}
}

func (s *sink) serve(fd int) {
	runtime.LockOSThread()
	b := newBatchIO(fd, false)
	for {
		n, err := b.receive(unix.MSG_WAITFORONE)
		if err != nil {
			continue // interrupted
		}
		now := time.Now()
		s.mu.Lock()
		for i := range n {
			if d := b.received(i); len(d) >= 8 {
				s.add(binary.BigEndian.Uint64(d), now)
			}
		}
		s.mu.Unlock()
	}
}

func (s *sink) add(number uint64, now time.Time) {
	r := s.runs[number]
	if r == nil {
		r = &volley{first: now}
		s.runs[number] = r
	}
	r.count++
	r.last = now
}
