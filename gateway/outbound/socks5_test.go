package outbound

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

var somewhere = netip.MustParseAddrPort("192.0.2.7:443")

func echo(t *testing.T, c io.ReadWriter, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("writing: %v", err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v; want %q", got, err, text)
	}
}

func TestTheNodeIsAskedForWhatTheFlowWants(t *testing.T) {
	long := strings.Repeat("a", 251) + ".net"
	for _, tt := range []struct {
		name string
		host string
		to   netip.AddrPort
		want endpoint
	}{
		{"a name goes as a name", "example.com", somewhere, endpoint{"example.com", netip.AddrPortFrom(netip.Addr{}, 443)}},
		{"a name needs no address", "example.com", netip.AddrPortFrom(netip.Addr{}, 80), endpoint{"example.com", netip.AddrPortFrom(netip.Addr{}, 80)}},
		{"the longest name", long, somewhere, endpoint{long, netip.AddrPortFrom(netip.Addr{}, 443)}},
		{"an IPv4 address", "", somewhere, endpoint{"", somewhere}},
		{"an IPv6 address", "", netip.MustParseAddrPort("[2001:db8::1]:53"), endpoint{"", netip.MustParseAddrPort("[2001:db8::1]:53")}},
		{"a mapped address goes unmapped", "", netip.MustParseAddrPort("[::ffff:192.0.2.7]:443"), endpoint{"", somewhere}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node := &testNode{}
			c, err := node.start(t).DialTCP(soon(t), tt.host, tt.to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := <-node.asked; got != tt.want {
				t.Errorf("the node was asked for %+v, want %+v", got, tt.want)
			}
			echo(t, c, "through the node")
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("DialTCP returns a %T, which cannot be spliced", c)
			}
		})
	}
}

func TestWhatCannotBeNamedIsNotAsked(t *testing.T) {
	node := &testNode{}
	s := node.start(t)
	if _, err := s.DialTCP(soon(t), strings.Repeat("a", 256), somewhere); !errors.Is(err, errNameLength) {
		t.Errorf("a name of 256 bytes: %v, want %v", err, errNameLength)
	}
	if _, err := s.DialUDP(soon(t), "", netip.AddrPort{}); !errors.Is(err, errNoTarget) {
		t.Errorf("nothing to reach: %v, want %v", err, errNoTarget)
	}
}

func TestUserAndPasswordAreSentIfTheNodeWantsThem(t *testing.T) {
	node := &testNode{user: "u", password: "p"}
	c, err := node.start(t).DialTCP(soon(t), "example.com", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echo(t, c, "hello")

	open := &testNode{}
	open.start(t)
	cfg := open.config()
	cfg.Username, cfg.Password = "u", "p"
	c, err = NewSOCKS5(cfg, 0, nil).DialTCP(soon(t), "example.com", somewhere)
	if err != nil {
		t.Fatalf("a node that wants none: %v", err)
	}
	c.Close()
}

func TestAWrongPasswordSaysSo(t *testing.T) {
	node := &testNode{user: "u", password: "p"}
	node.start(t)
	for password, want := range map[string]error{"wrong": errBadPassword, strings.Repeat("x", 256): nil} {
		cfg := node.config()
		cfg.Password = password
		_, err := NewSOCKS5(cfg, 0, nil).DialTCP(soon(t), "example.com", somewhere)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("a password of %d bytes: %v, want %v", len(password), err, want)
		}
	}
}

func TestReplyCodesAreTold(t *testing.T) {
	for code, want := range map[byte]string{
		1: "general failure", 2: "not allowed", 3: "network unreachable", 4: "host unreachable",
		5: "connection refused", 6: "time to live", 7: "command not supported", 8: "address type", 200: "code 200",
	} {
		for _, reply := range [][]byte{{5, code, 0, 1, 0, 0, 0, 0, 0, 0}, {5, code}} {
			node := &testNode{reply: reply}
			_, err := node.start(t).DialTCP(soon(t), "example.com", somewhere)
			var got ReplyError
			if !errors.As(err, &got) || byte(got) != code || !strings.Contains(err.Error(), want) {
				t.Errorf("reply % x: %v, want %q", reply, err, want)
			}
		}
	}
}

func TestAMalformedReplyIsAnError(t *testing.T) {
	for name, reply := range map[string][]byte{
		"another version":         {4, 0, 0, 1, 0, 0, 0, 0, 0, 0},
		"an unknown address type": {5, 0, 0, 9, 0, 0, 0, 0, 0, 0},
		"an empty name":           {5, 0, 0, 3, 0, 0, 0},
		"HTTP":                    []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"nothing":                 {},
	} {
		node := &testNode{reply: reply}
		if c, err := node.start(t).DialTCP(soon(t), "example.com", somewhere); err == nil {
			c.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAReplyMayHaveAnyAddressAndTheStreamBeginsRightAfterIt(t *testing.T) {
	for name, bound := range map[string]string{
		"IPv4":       "\x01\x7f\x00\x00\x01\x00\x50",
		"IPv6":       "\x04" + strings.Repeat("\x20", 16) + "\x00\x50",
		"short name": "\x03\x01x\x00\x50",
		"long name":  "\x03\xff" + strings.Repeat("n", 255) + "\x00\x50",
	} {
		node := &testNode{reply: []byte("\x05\x00\x00" + bound + "banner")}
		c, err := node.start(t).DialTCP(soon(t), "example.com", somewhere)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		defer c.Close()
		if got, err := io.ReadAll(c); string(got) != "banner" || err != nil {
			t.Errorf("%s: read %q, %v; want the banner", name, got, err)
		}
	}
}

func TestANodeThatDiesAnywhereInTheHandshakeIsAnError(t *testing.T) {
	const handshake = 2 + 2 + 10
	for cut := 1; cut < handshake; cut++ {
		node := &testNode{user: "u", password: "p", cut: cut}
		c, err := node.start(t).DialTCP(soon(t), "example.com", somewhere)
		if err == nil {
			c.Close()
			t.Errorf("cut after %d bytes: no error", cut)
		} else if !errors.Is(err, errHungUp) {
			t.Errorf("cut after %d bytes: %v, want %v", cut, err, errHungUp)
		}
	}
}

func TestADeadNodeIsKnownWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	var dialing sync.WaitGroup
	for name, dial := range map[string]func(*SOCKS5) error{
		"TCP": func(s *SOCKS5) error { _, err := s.DialTCP(soon(t), "example.com", somewhere); return err },
		"UDP": func(s *SOCKS5) error { _, err := s.DialUDP(soon(t), "example.com", somewhere); return err },
	} {
		s := (&testNode{stall: true}).start(t)
		dialing.Go(func() {
			began := time.Now()
			if err := dial(s); err == nil {
				t.Errorf("%s: no error", name)
			}
			if took := time.Since(began); took > 5*time.Second || took < nodeTimeout/2 {
				t.Errorf("%s: took %v, want about %v", name, took, nodeTimeout)
			}
			if s.Heard() != 0 {
				t.Errorf("%s: a node was heard of that only accepted", name)
			}
		})
	}
	dialing.Wait()
}

func TestANodeThatGreetsIsHeardOf(t *testing.T) {
	s := (&testNode{}).start(t)
	c, err := s.DialTCP(soon(t), "example.com", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s.Heard() == 0 {
		t.Error("nothing was heard of a node that connected us")
	}
}

func TestCancellingEndsADialAtOnce(t *testing.T) {
	node := &testNode{stall: true}
	s := node.start(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the client has gone")
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	began := time.Now()
	_, err := s.DialTCP(ctx, "example.com", somewhere)
	if err == nil || time.Since(began) > time.Second {
		t.Errorf("DialTCP = %v after %v, want an error at once", err, time.Since(began))
	}
}

func TestANodeGivenByNameIsResolvedByBootstrapAlone(t *testing.T) {
	node := &testNode{}
	node.start(t)
	cfg := node.config()
	cfg.Server = "node.example"
	c, err := NewSOCKS5(cfg, 0, resolver{"node.example": addrs("127.0.0.1")}).DialTCP(soon(t), "example.com", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := NewSOCKS5(cfg, 0, resolver{}).DialTCP(soon(t), "example.com", somewhere); !errors.Is(err, errNoSuch) {
		t.Errorf("a name that does not exist: %v, want %v", err, errNoSuch)
	}
	if _, err := NewSOCKS5(cfg, 0, nil).DialTCP(soon(t), "example.com", somewhere); !errors.Is(err, errNoResolver) {
		t.Errorf("no bootstrap: %v, want %v", err, errNoResolver)
	}
}

func FuzzSOCKS5(f *testing.F) {
	f.Add([]byte{5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80, 'x'})
	f.Add([]byte{5, 2, 1, 0, 5, 0, 0, 3, 2, 'a', 'b', 0, 80})
	f.Add([]byte{5, 2, 1, 1})
	f.Add([]byte{5, 0, 5, 4, 0, 1})
	f.Add(append([]byte{5, 0, 5, 0, 0, 4}, make([]byte, 18)...))
	f.Add([]byte{0, 0, 0, 1, 127, 0, 0, 1, 0, 53, 'p'})
	f.Fuzz(func(t *testing.T, sent []byte) {
		s := NewSOCKS5(Config{Username: "u", Password: "p"}, 0, nil)
		stream := bytes.NewReader(sent)
		bound, err := s.exchange(&script{Reader: stream}, []byte{5, 1, 0, 1, 1, 1, 1, 1, 0, 80})
		consumed := sent[:len(sent)-stream.Len()]
		if err == nil && bound.host == "" && !bound.addr.IsValid() {
			t.Errorf("the reply in % x binds nothing", consumed)
		}
		if err == nil && !endsWithPort(consumed, bound.addr.Port()) {
			t.Errorf("the reply in % x was read beyond its port %d", consumed, bound.addr.Port())
		}
		from, payload, err := parseDatagram(sent)
		if err != nil {
			return
		}
		if !bytes.HasSuffix(sent, payload) || from.host == "" && !from.addr.IsValid() {
			t.Errorf("% x was read as %+v with % x", sent, from, payload)
		}
	})
}

func endsWithPort(b []byte, port uint16) bool {
	return len(b) >= 2 && binary.BigEndian.Uint16(b[len(b)-2:]) == port
}

// script is a connection of which the other side has said all beforehand.
type script struct {
	net.Conn
	*bytes.Reader
}

func (s *script) Read(b []byte) (int, error)  { return s.Reader.Read(b) }
func (s *script) Write(b []byte) (int, error) { return len(b), nil }
