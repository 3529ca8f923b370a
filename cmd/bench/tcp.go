package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Ports of the servers in the internet. Each connection begins with a hello.
const (
	sinkPort   = 9001 // reads to the end, then says how many bytes came
	sourcePort = 9002 // sends until the client goes
	shortPort  = 9003 // answers with 96 bytes and closes
)

const (
	// helloSize is that of a browser's ClientHello without post-quantum keys.
	helloSize  = 517
	answerSize = 96
	// bulkBuffer is what iperf3 writes at once.
	bulkBuffer = 128 << 10
	// dialTime bounds a connection attempt.
	dialTime = 5 * time.Second
)

// hello is a ClientHello of helloSize bytes for a name (RFC 8446 section
// 4.1.2), filled up by the padding extension (RFC 7685). Nobody answers it.
func hello(name string) []byte {
	sni := binary.BigEndian.AppendUint16(nil, uint16(len(name)+3))
	sni = append(sni, 0) // host_name
	sni = binary.BigEndian.AppendUint16(sni, uint16(len(name)))
	sni = append(sni, name...)

	body := append([]byte{3, 3}, make([]byte, 32)...) // version, random
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)    // no session, one suite, no compression
	const headers = 5 + 4 + 2 + 4                     // record, handshake, extensions, padding
	padding := helloSize - headers - len(body) - 4 - len(sni)
	extensions := appendExtension(nil, 0, sni)
	extensions = appendExtension(extensions, 21, make([]byte, padding))
	body = binary.BigEndian.AppendUint16(body, uint16(len(extensions)))
	body = append(body, extensions...)

	record := []byte{22, 3, 1}
	record = binary.BigEndian.AppendUint16(record, uint16(len(body)+4))
	record = append(record, 1, 0)
	record = binary.BigEndian.AppendUint16(record, uint16(len(body)))
	return append(record, body...)
}

func appendExtension(b []byte, kind uint16, data []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// dial connects and says hello.
func dial(to netip.AddrPort, name string, until time.Time) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	d.KeepAlive = -1
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return nil, err
	}
	c.SetDeadline(until)
	if _, err := c.Write(hello(name)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// grace is how long an order may take beyond its time.
const grace = 3 * time.Second

// bulk moves as many bytes as it can through some connections at once. Bytes
// towards the server count when the server says that it has them.
func bulk(o order) (outcome, error) {
	conns := make([]net.Conn, o.Streams)
	for i := range conns {
		c, err := dial(o.To, o.Name, time.Now().Add(o.For+grace))
		if err != nil {
			return outcome{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	move := upload
	if o.Down {
		move = download
	}
	began := time.Now()
	moved, errs := make([]int64, len(conns)), make([]error, len(conns))
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() { moved[i], errs[i] = move(c, began.Add(o.For)) })
	}
	all.Wait()
	out := outcome{Elapsed: time.Since(began)}
	for _, n := range moved {
		out.Bytes += n
	}
	return out, errors.Join(errs...)
}

func upload(c net.Conn, until time.Time) (int64, error) {
	buf := make([]byte, bulkBuffer)
	for time.Now().Before(until) {
		if _, err := c.Write(buf); err != nil {
			return 0, fmt.Errorf("sending: %w", err)
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	var total [8]byte
	if _, err := io.ReadFull(c, total[:]); err != nil {
		return 0, fmt.Errorf("waiting for the server's count: %w", err)
	}
	return int64(binary.BigEndian.Uint64(total[:])), nil
}

func download(c net.Conn, until time.Time) (total int64, err error) {
	buf := make([]byte, bulkBuffer)
	for time.Now().Before(until) {
		n, err := c.Read(buf)
		total += int64(n)
		if err != nil {
			return total, fmt.Errorf("receiving: %w", err)
		}
	}
	return total, nil
}

// flows opens short flows, some at the same time, one after the other, until
// the time is over.
func flows(o order) (outcome, error) {
	began := time.Now()
	until := began.Add(o.For)
	var (
		all   sync.WaitGroup
		mu    sync.Mutex // guards the fields below
		out   outcome
		times []time.Duration
	)
	for range o.Streams {
		all.Go(func() {
			var mine []time.Duration
			broken, why := 0, ""
			for time.Now().Before(until) {
				start := time.Now()
				if err := short(o.To, o.Name); err != nil {
					broken, why = broken+1, err.Error()
					continue
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
			out.Errors += broken
			out.Why += why
		})
	}
	all.Wait()
	out.Elapsed, out.Count = time.Since(began), len(times)
	out.P50, out.P99 = quantiles(times)
	return out, nil
}

// short is one short flow: a hello, an answer, and the end.
func short(to netip.AddrPort, name string) error {
	c, err := dial(to, name, time.Now().Add(grace))
	if err != nil {
		return err
	}
	defer c.Close()
	var answer [answerSize + 1]byte
	switch n, err := io.ReadFull(c, answer[:]); {
	case n == answerSize && err == io.ErrUnexpectedEOF:
		return nil
	case err == nil:
		return errors.New("the answer is too long")
	default:
		return err
	}
}

// quantiles sorts times.
func quantiles(times []time.Duration) (p50, p99 time.Duration) {
	if len(times) == 0 {
		return 0, 0
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100]
}

// hold opens connections that say hello and then nothing.
func (g *ground) hold(o order) (outcome, error) {
	began := time.Now()
	for range o.Streams {
		c, err := dial(o.To, o.Name, time.Time{})
		if err != nil {
			return outcome{Count: len(g.held)}, err
		}
		g.held = append(g.held, c)
	}
	return outcome{Count: len(g.held), Elapsed: time.Since(began)}, nil
}

func (g *ground) release() (outcome, error) {
	for _, c := range g.held {
		c.Close()
	}
	g.held = nil
	return outcome{}, nil
}

// serveTCP accepts connections on a port for as long as the process lives.
func serveTCP(port int, serve func(*net.TCPConn)) error {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				time.Sleep(10 * time.Millisecond) // out of descriptors: others will close theirs
				continue
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return nil
}

// greeted serves connections once their hello has come.
func greeted(serve func(*net.TCPConn)) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		var hello [helloSize]byte
		if _, err := io.ReadFull(c, hello[:]); err == nil {
			serve(c)
		}
	}
}

func swallow(c *net.TCPConn) {
	buf := make([]byte, bulkBuffer)
	var total uint64
	for {
		n, err := c.Read(buf)
		total += uint64(n)
		if err != nil {
			break
		}
	}
	c.Write(binary.BigEndian.AppendUint64(nil, total))
}

func pour(c *net.TCPConn) {
	buf := make([]byte, bulkBuffer)
	for {
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

func answerShortly(c *net.TCPConn) {
	var answer [answerSize]byte
	c.Write(answer[:])
}
