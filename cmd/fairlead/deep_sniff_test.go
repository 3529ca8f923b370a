package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// quicName is in the hellos of sniff's corpus.
const quicName = "quic.example.com"

// quicHome is a home in which the name of the corpus leaves by an outbound.
func quicHome(t *testing.T, outbound, otherwise string) *home {
	t.Helper()
	return newHome(t,
		lab.Options{
			Domestic: []string{quicName},
			Hosts:    map[string][]netip.Addr{quicName: {netip.MustParseAddr("198.51.100.20"), netip.MustParseAddr("2001:db8:51::20")}},
		},
		lab.Config{Default: otherwise, Rules: fmt.Sprintf(`
config rule 'quic'
	list domain '%s'
	option outbound '%s'
`, quicName, outbound)})
}

// flight sends the datagrams of a client's hello to port 443 of an address and
// checks that they arrive there as they were and in order; it tells the way.
func (h *home) flight(t *testing.T, c *lab.Client, addr netip.Addr, datagrams [][]byte) path {
	t.Helper()
	server, err := h.Internet.ListenUDP(at(addr, 443))
	ok(t, err)
	defer server.Close()
	server.SetDeadline(time.Now().Add(soon))
	client := h.dialUDP(t, c, at(addr, 443))
	for _, d := range datagrams {
		_, err := client.Write(d)
		ok(t, err)
	}
	var first netip.AddrPort
	for i, d := range datagrams {
		got, from := receive(t, server)
		if !bytes.Equal([]byte(got), d) {
			t.Fatalf("datagram %d arrived as %d bytes %.20x…, want %d bytes %.20x…", i, len(got), got, len(d), d)
		}
		if i == 0 {
			first = from
		}
		if from != first {
			t.Errorf("datagram %d came from %s, the first from %s", i, from, first)
		}
	}
	_, err = server.WriteToUDPAddrPort([]byte("hello"), first)
	ok(t, err)
	if got := make([]byte, 16); true {
		n, err := client.Read(got)
		if err != nil || string(got[:n]) != "hello" {
			t.Errorf("the answer is %q, %v", got[:n], err)
		}
	}
	return h.pathOf(client.LocalAddr(), first)
}

func direct(p path) bool { return p == byKernel || p == byRelay }

func TestTheNameInAHelloOverQUICDecidesItsWay(t *testing.T) {
	hello := entry(t, "quic/quic-go-v1.hex")
	if len(hello) != 2 {
		t.Fatalf("the hello has %d datagrams, want 2", len(hello))
	}
	for _, tt := range []struct {
		outbound, otherwise string
		node                bool
	}{{"node", "direct", true}, {"direct", "node", false}} {
		t.Run(tt.outbound, func(t *testing.T) {
			h := quicHome(t, tt.outbound, tt.otherwise)
			laptop, tv := h.laptopAndTV()
			eachFamily(t, func(t *testing.T, f family) {
				addr := h.address(t, tv, quicName, f)
				for what, c := range map[string]*lab.Client{"a realip client that asked": tv, "a fakeip client with a literal address": laptop} {
					if got := h.flight(t, c, addr, hello); (got == byNode) != tt.node || !tt.node && !direct(got) {
						t.Errorf("the flow of %s went %s, want it %s", what, got, tt.outbound)
					}
				}
			})
		})
	}
}

func TestAHelloOverQUICThatIsSplitAndRetriedArrivesWhole(t *testing.T) {
	h := quicHome(t, "node", "direct")
	laptop, _ := h.laptopAndTV()
	for _, name := range []string{"v2", "large", "retry", "0rtt", "small"} {
		hello := entry(t, "quic/quic-go-"+name+".hex")
		if got := h.flight(t, laptop, h.At.Foreign.V4, hello); got != byNode {
			t.Errorf("%s went %s, want %s", name, got, byNode)
		}
	}
}

func TestQUICWithoutANameGoesTheDefaultWay(t *testing.T) {
	for _, otherwise := range []string{"node", "direct"} {
		t.Run(otherwise, func(t *testing.T) {
			h := quicHome(t, "node", otherwise)
			laptop, _ := h.laptopAndTV()
			got := h.flight(t, laptop, h.At.Foreign.V4, entry(t, "quic/quic-go-no-name.hex"))
			if (got == byNode) != (otherwise == "node") {
				t.Errorf("went %s, want the default, %s", got, otherwise)
			}
		})
	}
}

// say sends a client's first words to an echo server and gives its way.
func (h *home) say(t *testing.T, c *lab.Client, addr netip.Addr, words []byte) path {
	t.Helper()
	conn := h.dialTCP(t, c, at(addr, lab.EchoPort))
	defer conn.Close()
	_, err := conn.Write(words)
	ok(t, err)
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	ok(t, err)
	echo := make([]byte, len(words))
	if _, err := io.ReadFull(r, echo); err != nil || !bytes.Equal(echo, words) {
		t.Fatalf("the echo is %q, %v; want %q", echo, err, words)
	}
	seen, err := netip.ParseAddrPort(strings.TrimSpace(line))
	ok(t, err)
	return h.pathOf(conn.LocalAddr(), seen)
}

func TestRulesByProtocolDecideByTheFirstBytes(t *testing.T) {
	stun := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, "transaction."...)
	tcp := map[string][]byte{
		"tls":        entry(t, "stream/openssl-no-name.hex")[0],
		"http":       []byte("GET http://curl.example.org/ HTTP/1.1\r\nHost: curl.example.org\r\n\r\n"),
		"ssh":        []byte("SSH-2.0-OpenSSH_9.9\r\n"),
		"bittorrent": append([]byte("\x13BitTorrent protocol"), make([]byte, 48)...),
	}
	udp := map[string][]byte{"stun": stun, "dns": query(7, "other-port.example")}
	for protocol := range tcp {
		t.Run(protocol, func(t *testing.T) {
			h := byProtocol(t, protocol)
			laptop, _ := h.laptopAndTV()
			for other, words := range tcp {
				if got := h.say(t, laptop, h.At.Foreign.V4, words); (got == byNode) != (other == protocol) {
					t.Errorf("%s went %s, by a rule for %s", other, got, protocol)
				}
			}
		})
	}
	for protocol := range udp {
		t.Run(protocol, func(t *testing.T) {
			h := byProtocol(t, protocol)
			laptop, _ := h.laptopAndTV()
			for other, words := range udp {
				conn := h.dialUDP(t, laptop, at(h.At.Foreign.V4, lab.EchoPort))
				_, err := conn.Write(words)
				ok(t, err)
				answer, _ := receive(t, conn)
				seen, err := echoed(answer, string(words))
				ok(t, err)
				if got := h.pathOf(conn.LocalAddr(), seen); (got == byNode) != (other == protocol) {
					t.Errorf("%s went %s, by a rule for %s", other, got, protocol)
				}
			}
		})
	}
}

func byProtocol(t *testing.T, protocol string) *home {
	t.Helper()
	return newHome(t, lab.Options{}, lab.Config{Rules: fmt.Sprintf(`
config rule 'told'
	list protocol '%s'
	option outbound 'node'
`, protocol)})
}

func TestAnHTTPRequestInAbsoluteFormGoesTheWayOfItsName(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{Rules: `
config rule 'curl'
	list domain 'curl.example.org'
	option outbound 'node'
`})
	laptop, _ := h.laptopAndTV()
	if got := h.say(t, laptop, h.At.Foreign.V4, entry(t, "stream/curl-http-proxy.hex")[0]); got != byNode {
		t.Errorf("went %s, want %s", got, byNode)
	}
	other := []byte("GET http://other.example.org/ HTTP/1.1\r\nHost: other.example.org\r\n\r\n")
	if got := h.say(t, laptop, h.At.Foreign.V4, other); got != byRelay {
		t.Errorf("another name went %s, want %s", got, byRelay)
	}
}
