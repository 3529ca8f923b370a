package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// testPort is where tests serve what the lab's servers do not.
const testPort = 4321

// relayWays are the two ways through the daemon, each to a server of the test
// at Foreign: by name through the node, and directly by address.
func (h *home) relayWays(t *testing.T, f family) map[string]netip.Addr {
	return map[string]netip.Addr{
		"through the node":    h.address(t, h.Clients["laptop"], "www.foreign.example", f),
		"sniffed, and direct": f.of(h.At.Foreign),
	}
}

// eachWay serves on both families of Foreign and runs a test on a connection
// to it for each way.
func eachWay(t *testing.T, h *home, serve func(*net.TCPConn), test func(t *testing.T, c *net.TCPConn)) {
	t.Helper()
	for _, f := range families {
		h.listen(t, h.Internet, at(f.of(h.At.Foreign), testPort), serve)
	}
	eachFamily(t, func(t *testing.T, f family) {
		for way, addr := range h.relayWays(t, f) {
			t.Run(way, func(t *testing.T) { test(t, h.dialTCP(t, h.Clients["laptop"], at(addr, testPort))) })
		}
	})
}

func TestAClientThatHasSaidAllStillHears(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	serve := func(c *net.TCPConn) { // counts until the end, then answers
		n, err := io.Copy(io.Discard, c)
		if err == nil {
			io.WriteString(c, "heard "+strconv.FormatInt(n, 10))
		}
		c.Close()
	}
	eachWay(t, h, serve, func(t *testing.T, c *net.TCPConn) {
		io.WriteString(c, "0123456789")
		ok(t, c.CloseWrite())
		got, err := io.ReadAll(c)
		ok(t, err)
		if want := "heard 10"; string(got) != want {
			t.Errorf("after the client's end it heard %q, want %q", got, want)
		}
	})
}

func TestAServerThatHasSaidAllStillHears(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	heard := make(chan string, 1)
	serve := func(c *net.TCPConn) {
		io.WriteString(c, "farewell")
		c.CloseWrite()
		all, _ := io.ReadAll(c)
		heard <- string(all)
		c.Close()
	}
	eachWay(t, h, serve, func(t *testing.T, c *net.TCPConn) {
		got, err := io.ReadAll(c)
		ok(t, err)
		if want := "farewell"; string(got) != want {
			t.Fatalf("the client heard %q, want %q", got, want)
		}
		io.WriteString(c, "one more thing")
		ok(t, c.CloseWrite())
		select {
		case got := <-heard:
			if want := "one more thing"; got != want {
				t.Errorf("after its own end the server heard %q, want %q", got, want)
			}
		case <-time.After(soon):
			t.Error("the server never heard the client's end")
		}
	})
}

// Only directly: what the node makes of a reset is the node's affair.
func TestAServersResetReachesTheClient(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	eachFamily(t, func(t *testing.T, f family) {
		to := at(f.of(h.At.Foreign), testPort)
		h.listen(t, h.Internet, to, func(c *net.TCPConn) {
			c.Read(make([]byte, 10))
			c.SetLinger(0)
			c.Close()
		})
		c := h.dialTCP(t, h.Clients["laptop"], to)
		io.WriteString(c, "hello")
		if n, err := c.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client read %d bytes and %v, want a reset", n, err)
		}
	})
}

func TestAClientsResetReachesTheServer(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	eachFamily(t, func(t *testing.T, f family) {
		to := at(f.of(h.At.Foreign), testPort)
		ended := make(chan error, 1)
		h.listen(t, h.Internet, to, func(c *net.TCPConn) {
			io.WriteString(c, "welcome")
			_, err := io.Copy(io.Discard, c)
			ended <- err
			c.Close()
		})
		c := h.dialTCP(t, h.Clients["laptop"], to)
		io.WriteString(c, "hello")
		_, err := io.ReadFull(c, make([]byte, len("welcome")))
		ok(t, err)
		ok(t, c.SetLinger(0))
		ok(t, c.Close())
		select {
		case err := <-ended:
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server's connection ended with %v, want a reset", err)
			}
		case <-time.After(soon):
			t.Error("the server's connection never ended")
		}
	})
}

func TestABulkTransferIsExactAndCounted(t *testing.T) {
	const size = 8 << 20
	payload := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(payload)
	h := newHome(t, lab.Options{}, lab.Config{})
	carried := map[string]outboundStatus{}
	eachWay(t, h, echoServer, func(t *testing.T, c *net.TCPConn) {
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(payload)
			sent <- errors.Join(err, c.CloseWrite())
		}()
		got, err := io.ReadAll(c)
		ok(t, err)
		ok(t, <-sent)
		if !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes came back, and not the %d that were sent", len(got), size)
		}
		line := h.flowLine(t, c.LocalAddr())
		if line["up"] != strconv.Itoa(size) || line["down"] != strconv.Itoa(size) {
			t.Errorf("the log counts %s bytes up and %s down, want %d each", line["up"], line["down"], size)
		}
		o := carried[line["outbound"]]
		o.TxBytes, o.RxBytes = o.TxBytes+size, o.RxBytes+size
		carried[line["outbound"]] = o
	})
	for _, outbound := range []string{"node", "direct"} {
		got, want := h.status(t).Outbounds[outbound], carried[outbound]
		if got.TxBytes != want.TxBytes || got.RxBytes != want.RxBytes || want.TxBytes != 2*size {
			t.Errorf("status counts %d bytes out and %d in through %s, want %d and %d",
				got.TxBytes, got.RxBytes, outbound, want.TxBytes, want.RxBytes)
		}
	}
}

func echoServer(c *net.TCPConn) {
	io.Copy(c, c)
	c.Close()
}

func TestAFlowHasOneLogLineThatSaysAll(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	fake := h.address(t, laptop, "www.foreign.example", families[0])
	c := h.dialTCP(t, laptop, at(fake, lab.EchoPort))
	seen, err := hello(c)
	ok(t, err)
	c.Close()
	got := h.flowLine(t, c.LocalAddr())
	for key, want := range map[string]string{
		"level": "INFO", "proto": "tcp", "dst": at(fake, lab.EchoPort).String(), "host": "www.foreign.example",
		"rule": "foreign", "outbound": "node", "up": "6", "down": strconv.Itoa(len(seen.String() + "\nhello\n")),
	} {
		if got[key] != want {
			t.Errorf("%s=%q, want %q", key, got[key], want)
		}
	}
	if got["err"] != "" {
		t.Errorf("the line tells an error, %q, of a flow without one", got["err"])
	}
}

// greeting is how long a server that speaks first takes to be heard.
func (h *home) greeting(t *testing.T, c *lab.Client, addr netip.Addr) time.Duration {
	t.Helper()
	began := time.Now()
	conn := h.dialTCP(t, c, at(addr, lab.BannerPort))
	defer conn.Close()
	r := bufio.NewReader(conn)
	_, err := r.ReadString('\n')
	took := time.Since(began)
	ok(t, err)
	io.WriteString(conn, "HELO\n")
	if got, err := r.ReadString('\n'); got != "HELO\n" {
		t.Fatalf("after the banner the echo is %q, %v", got, err)
	}
	return took
}

// best of several, because other work on the machine only ever adds.
func best(count int, measure func() time.Duration) time.Duration {
	least := measure()
	for range count - 1 {
		least = min(least, measure())
	}
	return least
}

func TestAServerThatSpeaksFirstLosesLittle(t *testing.T) {
	h := newHouse(t, lab.Options{})
	laptop := h.Clients["laptop"]
	plain := map[string]time.Duration{}
	for _, f := range families {
		plain[f.name] = best(5, func() time.Duration { return h.greeting(t, laptop, f.of(h.At.Foreign)) })
	}
	h.configure(h.ConfigText(lab.Config{}))
	h.start()
	eachFamily(t, func(t *testing.T, f family) {
		for way, addr := range h.relayWays(t, f) {
			took := best(5, func() time.Duration { return h.greeting(t, laptop, addr) })
			if lost := took - plain[f.name]; lost > 50*time.Millisecond {
				t.Errorf("%s: the banner took %v, %v without us; want less than 50ms more", way, took, plain[f.name])
			}
		}
	})
}

func TestASilentClientIsNotClosed(t *testing.T) {
	const quiet = 700 * time.Millisecond // more than anything in the sniffer waits
	h := newHome(t, lab.Options{}, lab.Config{})
	for _, f := range families {
		h.listen(t, h.Internet, at(f.of(h.At.Foreign), testPort), echoServer)
	}
	eachFamily(t, func(t *testing.T, f family) {
		for way, addr := range h.relayWays(t, f) {
			c := h.dialTCP(t, h.Clients["laptop"], at(addr, testPort))
			c.SetDeadline(time.Now().Add(quiet))
			if n, err := c.Read(make([]byte, 10)); !isTimeout(err) {
				t.Fatalf("%s: a silent client read %d bytes and %v, want nothing for %v", way, n, err, quiet)
			}
			c.SetDeadline(time.Now().Add(soon))
			io.WriteString(c, "hello")
			got := make([]byte, 5)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
				t.Errorf("%s: when it spoke at last, the echo was %q, %v", way, got, err)
			}
		}
	})
}

// Its silence is not an answer: the name that it says at last still decides.
func TestTheNameOfALateHelloStillDecides(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	eachFamily(t, func(t *testing.T, f family) {
		c := h.dialTCP(t, h.Clients["laptop"], at(f.of(h.At.Foreign), 80))
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(make([]byte, 10)); !isTimeout(err) {
			t.Fatalf("a silent client read %d bytes and %v", n, err)
		}
		c.SetDeadline(time.Now().Add(soon))
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: www.foreign.example\r\nConnection: close\r\n\r\n")
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got := h.flowLine(t, c.LocalAddr())["outbound"]; got != "node" {
			t.Errorf("the flow went by %s, want the node", got)
		}
	})
}

func TestADeadNodeResetsItsFlowsAndNoOthers(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	ok(t, h.StopNode())
	eachFamily(t, func(t *testing.T, f family) {
		fake := h.address(t, laptop, "www.foreign.example", f)
		began := time.Now()
		p, err := h.tryTCP(laptop, fake)
		if !refused(err) || time.Since(began) > soon {
			t.Errorf("a flow to the dead node: %s, %v after %v; want a reset within %v", p, err, time.Since(began), soon)
		}
		h.wantPath(t, laptop, h.address(t, laptop, "www.domestic.example", f), byKernel)
		seen, err := h.webFrom(laptop, f.of(h.At.Domestic), "https://other.example/")
		ok(t, err)
		if got := h.wayOf(seen); got == byNode {
			t.Errorf("another flow was seen from %s", seen.Client)
		}
	})
	if got := h.status(t).Outbounds["node"].State; got != "down" {
		t.Errorf("status says that the node is %s, want down", got)
	}
}

// A node that answers nothing at all is the harder case.
func TestANodeThatVanishedResetsItsFlowsInTime(t *testing.T) {
	t.Parallel()
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop := h.Clients["laptop"]
	fake := h.address(t, laptop, "www.foreign.example", families[0])
	if got := h.tcpPath(t, laptop, fake); got != byNode {
		t.Fatalf("before, a flow went %s", got)
	}
	h.vanish(t, h.At.Node.V4)
	c := h.dialTCP(t, laptop, at(fake, lab.EchoPort))
	began := time.Now()
	io.WriteString(c, "hello\n")
	n, err := c.Read(make([]byte, 10))
	if took := time.Since(began); !errors.Is(err, syscall.ECONNRESET) || took > soon {
		t.Errorf("the client read %d bytes and %v after %v, want a reset within %v", n, err, took, soon)
	}
	h.wantPath(t, laptop, h.address(t, laptop, "www.domestic.example", families[0]), byKernel)
}

// vanish lets packets of the router for a host on its WAN go astray.
func (h *home) vanish(t *testing.T, host netip.Addr) {
	t.Helper()
	link, err := h.Router.Handle().LinkByName(lab.WAN)
	ok(t, err)
	ok(t, h.Router.Handle().NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, IP: host.AsSlice(), State: netlink.NUD_PERMANENT,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0x99},
	}))
}

func TestANodeGivenByNameIsResolvedByItsBootstrap(t *testing.T) {
	h := newHouse(t, lab.Options{Hosts: map[string][]netip.Addr{"node.domestic.example": {netip.MustParseAddr("203.0.113.80")}}})
	text := h.ConfigText(lab.Config{Rules: `
config rule 'foreign'
	list domain 'foreign.example'
	option outbound 'named'
`, More: `
config outbound 'named'
	option type 'socks5'
	option server 'node.domestic.example'
	option port '1080'
	option username 'u'
	option password 'p'
	list bootstrap '203.0.113.53'
`})
	h.configure(text)
	h.start()
	laptop := h.Clients["laptop"]
	fake := h.address(t, laptop, "www.foreign.example", families[0])
	h.wantPath(t, laptop, fake, byNode)
	for _, q := range h.ISPLog() {
		if q.Name != "node.domestic.example" {
			t.Errorf("the ISP was asked for %s, want only the node's name", q.Name)
		}
	}
	if len(h.ISPLog()) == 0 {
		t.Error("nobody asked for the node's name")
	}
}
