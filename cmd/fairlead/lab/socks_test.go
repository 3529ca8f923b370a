package lab_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// socks asks the node, from the router, to connect (command 1) or to associate
// (command 3), and gives the connection and the bound address.
func socks(t *testing.T, w *lab.World, node netip.Addr, password string, command byte, target string) (net.Conn, netip.AddrPort, error) {
	t.Helper()
	c, err := w.Router.Dial(soon(t), "tcp", netip.AddrPort{}, netip.AddrPortFrom(node, lab.SOCKSPort))
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	hello := []byte{5, 1, 2, 1, byte(len(lab.User))}
	hello = append(append(append(hello, lab.User...), byte(len(password))), password...)
	c.Write(append(append(hello, 5, command, 0), socksTarget(t, target)...))
	reply := make([]byte, 2+2+4+4+2)
	if _, err := io.ReadFull(c, reply[:4]); err != nil {
		return nil, netip.AddrPort{}, err
	}
	if reply[3] != 0 {
		return nil, netip.AddrPort{}, fmt.Errorf("the node did not take the password")
	}
	if node.Is6() && command == 3 {
		reply = append(reply, make([]byte, 12)...)
	}
	if _, err := io.ReadFull(c, reply[4:]); err != nil {
		return nil, netip.AddrPort{}, err
	}
	if reply[5] != 0 {
		return nil, netip.AddrPort{}, fmt.Errorf("the node replied %d", reply[5])
	}
	addr, _ := netip.AddrFromSlice(reply[8 : len(reply)-2])
	return c, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(reply[len(reply)-2:])), nil
}

func socksTarget(t *testing.T, target string) []byte {
	t.Helper()
	host, port, err := net.SplitHostPort(target)
	ok(t, err)
	number, err := strconv.Atoi(port)
	ok(t, err)
	b := append([]byte{3, byte(len(host))}, host...)
	if addr, err := netip.ParseAddr(host); err == nil {
		b = append([]byte{map[bool]byte{true: 1, false: 4}[addr.Is4()]}, addr.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(number))
}

// datagram sends one through the node and gives what comes back, header removed.
func datagram(t *testing.T, w *lab.World, relay netip.AddrPort, target, payload string) string {
	t.Helper()
	u, err := w.Router.Dial(soon(t), "udp", netip.AddrPort{}, relay)
	ok(t, err)
	defer u.Close()
	u.SetDeadline(time.Now().Add(5 * time.Second))
	u.Write(append(append([]byte{0, 0, 0}, socksTarget(t, target)...), payload...))
	b := make([]byte, 2000)
	n, err := u.Read(b)
	ok(t, err)
	header := map[byte]int{1: 10, 4: 22}[b[3]]
	return string(b[header:n])
}

func TestTheNodeConnectsInItsOwnName(t *testing.T) {
	w := world(t, lab.Options{})
	targets := []string{"foreign.example:80", w.At.Foreign.V4.String() + ":80", "[" + w.At.Foreign.V6.String() + "]:80"}
	for _, target := range targets {
		c, _, err := socks(t, w, w.At.Node.V4, lab.Password, 1, target)
		ok(t, err)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: foreign.example\r\n\r\n")
		reply, err := io.ReadAll(c)
		ok(t, err)
		if !strings.Contains(string(reply), `"Client":"`+w.At.Node.V4.String()+":") &&
			!strings.Contains(string(reply), `"Client":"[`+w.At.Node.V6.String()+"]:") {
			t.Errorf("through the node to %s: %s, want the node as client", target, reply)
		}
	}
	var got []string
	for _, v := range w.NodeLog() {
		got = append(got, v.Network+" "+v.Target)
	}
	var want []string
	for _, target := range targets {
		want = append(want, "tcp "+target)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the node logged %q, want %q", got, want)
	}
}

func TestTheNodeRelaysDatagrams(t *testing.T) {
	w := world(t, lab.Options{})
	for _, node := range []netip.Addr{w.At.Node.V4, w.At.Node.V6} {
		_, relay, err := socks(t, w, node, lab.Password, 3, "0.0.0.0:0")
		ok(t, err)
		for target, peer := range map[string]netip.Addr{
			"foreign.example:7":                    w.At.Node.V4,
			w.At.Foreign.V4.String() + ":7":        w.At.Node.V4,
			"[" + w.At.Foreign.V6.String() + "]:7": w.At.Node.V6,
		} {
			at, payload, _ := strings.Cut(datagram(t, w, relay, target, "hello"), " ")
			expectPeer(t, at, peer)
			if payload != "hello" {
				t.Errorf("echo of %s = %q, want %q", target, payload, "hello")
			}
		}
	}
}

func TestTheNodeRefusesAWrongPassword(t *testing.T) {
	w := world(t, lab.Options{})
	if _, _, err := socks(t, w, w.At.Node.V4, "wrong", 1, "foreign.example:80"); err == nil {
		t.Error("a wrong password was taken")
	}
}

func TestAStoppedNodeRefusesAndStartsAgain(t *testing.T) {
	w := world(t, lab.Options{})
	open, _, err := socks(t, w, w.At.Node.V4, lab.Password, 1, fmt.Sprint("foreign.example:", lab.BannerPort))
	ok(t, err)
	ok(t, w.StopNode())
	if _, err := io.ReadAll(open); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("reading from a connection of a stopped node: %v, want its end", err)
	}
	if _, _, err := socks(t, w, w.At.Node.V4, lab.Password, 1, "foreign.example:80"); err == nil {
		t.Error("a stopped node took a connection")
	}
	ok(t, w.StartNode())
	_, _, err = socks(t, w, w.At.Node.V4, lab.Password, 1, "foreign.example:80")
	ok(t, err)
}
