package main

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// A device changes its IPv6 address every day (RFC 8981). It need not ask for
// the router to speak from a new one, so nobody knows whose it is.
func TestAPrivacyAddressHasThePolicyOfItsMACFromItsFirstPacket(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{
		Rules: "config rule 'all'\n\tlist client 'tv'\n\toption outbound 'node'\n" +
			"config rule 'foreign'\n\tlist domain 'foreign.example'\n\toption outbound 'node'\n",
	})
	tv := h.Clients["tv"] // the only section: by its MAC, in mode realip
	last := netip.MustParseAddr("2001:db8:77::abcd:0")
	private := func() netip.AddrPort { // an address that nobody has seen
		last = last.Next()
		ok(t, tv.NS.Addr(tv.Dev, netip.PrefixFrom(last, 64)))
		return at(last, 0)
	}
	dial := func(t *testing.T, network string, to netip.AddrPort) (conn interface {
		Read([]byte) (int, error)
		Write([]byte) (int, error)
	}, done func()) {
		t.Helper()
		c, err := tv.NS.Dial(h.ctx(), network, private(), to)
		ok(t, err)
		c.SetDeadline(time.Now().Add(soon))
		return c, func() { c.Close() }
	}
	for range 5 {
		question, done := dial(t, "udp", at(h.At.RouterLAN.V6, 53))
		_, err := question.Write([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07foreign\x07example\x00\x00\x1c\x00\x01"))
		ok(t, err)
		answer := make([]byte, 512)
		n, err := question.Read(answer)
		done()
		if err != nil || !bytes.Contains(answer[:n], h.At.Foreign.V6.AsSlice()) {
			t.Errorf("the first question from %s: %x, %v; want the real address, as the device is in mode realip", last, answer[:n], err)
		}

		datagrams, done := dial(t, "udp", at(h.At.Shared.V6, lab.EchoPort))
		_, err = datagrams.Write([]byte("hello"))
		ok(t, err)
		n, err = datagrams.Read(answer)
		done()
		if err != nil || !bytes.HasPrefix(answer[:n], []byte("["+h.At.Node.V6.String()+"]")) {
			t.Errorf("the first datagram from %s: the server says %q, %v; want that it came from the node", last, answer[:n], err)
		}

		conn, err := tv.NS.Dial(h.ctx(), "tcp", private(), at(h.At.Shared.V6, lab.EchoPort))
		ok(t, err)
		conn.SetDeadline(time.Now().Add(soon))
		seen, err := hello(conn)
		conn.Close()
		if err != nil || !h.At.Node.Is(seen.Addr()) {
			t.Errorf("the first connection from %s: the server saw %s, %v; want the node", last, seen, err)
		}
	}
}
