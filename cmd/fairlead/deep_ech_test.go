package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// providersName is what Cloudflare's customers have in their outer hellos.
const providersName = "cloudflare-ech.com"

// clientHello is the first record of a client that wants a name, which the ECH
// configuration list hides, if there is one.
func clientHello(t *testing.T, name string, ech []byte) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		tls.Client(client, &tls.Config{
			ServerName: name, MinVersion: tls.VersionTLS13, EncryptedClientHelloConfigList: ech,
			InsecureSkipVerify: true, EncryptedClientHelloRejectionVerify: func(tls.ConnectionState) error { return nil },
		}).Handshake()
	}()
	buf := make([]byte, 16<<10)
	n, err := server.Read(buf)
	ok(t, err)
	return buf[:n]
}

// echList is an ECHConfigList of one configuration (RFC 9849, section 4).
func echList(t *testing.T, publicName string) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	ok(t, err)
	counted := func(b, content []byte) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(len(content))), content...)
	}
	content := []byte{1, 0, 0x20} // its id, and DHKEM(X25519, HKDF-SHA256)
	content = counted(content, key.PublicKey().Bytes())
	content = counted(content, []byte{0, 1, 0, 1}) // HKDF-SHA256, AES-128-GCM
	content = append(content, 32, byte(len(publicName)))
	content = append(content, publicName...)
	content = append(content, 0, 0) // no extensions
	return counted(nil, counted([]byte{0xfe, 0x0d}, content))
}

// targets are those that the node was asked for since.
func (h *home) targets(since int) (all []string) {
	for _, v := range h.NodeLog()[since:] {
		if v.Network == "tcp" {
			all = append(all, v.Target)
		}
	}
	return all
}

func TestTheNameThatTheNodeIsAskedForIsOneThatDNSProved(t *testing.T) {
	const name = "www.foreign.example"
	foreign := netip.MustParseAddr("198.51.100.20")
	literal := fmt.Sprintf("%s:%d", foreign, lab.EchoPort)
	proven := fmt.Sprintf("%s:%d", name, lab.EchoPort)
	hidden := echList(t, providersName)
	for _, tt := range []struct {
		what      string
		otherwise string // the default
		asked     string // by the client, before; empty: nothing
		hello     []byte
		target    string // empty: it leaves directly
	}{
		{"a name that DNS gave the address for", "direct", name, clientHello(t, name, nil), proven},
		{"a provider's outer name: the history decides", "direct", name, clientHello(t, "secret.example", hidden), proven},
		{"a provider's outer name without history", "direct", "", clientHello(t, "secret.example", hidden), ""},
		{"another name of the same way that nobody asked for", "direct", name, clientHello(t, "other.foreign.example", nil), literal},
		{"a random name, as of Tor, to a literal address", "node", "", clientHello(t, "www.kq3zxv2j7.com", nil), literal},
		{"no name at all", "direct", name, entry(t, "stream/go-tls-no-name.hex")[0], proven},
		{"a direct name at an address that was given for a foreign one", "node", name, clientHello(t, "www.domestic.example", nil), ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			h := newHome(t, lab.Options{}, lab.Config{Default: tt.otherwise})
			_, tv := h.laptopAndTV()
			if tt.asked != "" {
				if got := h.address(t, tv, tt.asked, families[0]); got != foreign {
					t.Fatalf("%s is at %s, want %s", tt.asked, got, foreign)
				}
			}
			before := len(h.NodeLog())
			way := h.say(t, tv, foreign, tt.hello)
			targets := h.targets(before)
			switch {
			case tt.target == "" && (way != byRelay || len(targets) > 0):
				t.Errorf("went %s, the node was asked for %v; want it relayed directly", way, targets)
			case tt.target != "" && (way != byNode || len(targets) != 1 || targets[0] != tt.target):
				t.Errorf("went %s, the node was asked for %v; want %s once", way, targets, tt.target)
			}
		})
	}
}

func TestECHIsTakenOutOfAnswersForNamesThatMustBeSniffed(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	_, tv := h.laptopAndTV()
	for name, stripped := range map[string]bool{"www.foreign.example": true, "www.domestic.example": false} {
		for _, qtype := range []uint16{lab.TypeHTTPS, lab.TypeSVCB} {
			a, err := tv.Lookup(h.ctx(), h.At.RouterLAN.V4, name, qtype, "udp")
			ok(t, err)
			if len(a.Records) != 1 || !bytes.Contains(a.Records[0].Data, []byte("h2")) {
				t.Fatalf("%s, type %d: code %d, %v; want one record with alpn", name, qtype, a.RCode, a.Records)
			}
			if got := bytes.Contains(a.Records[0].Data, []byte("lab ech config")); got == stripped {
				t.Errorf("%s, type %d: ech is there: %t, want %t", name, qtype, got, !stripped)
			}
		}
	}
}
