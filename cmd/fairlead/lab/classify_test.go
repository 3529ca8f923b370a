package lab_test

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// canary is a label that nothing else in the world contains.
func canary() string {
	b := make([]byte, 8)
	rand.Read(b)
	return "zq" + hex.EncodeToString(b)
}

// captured is what the sorter finds on the WAN of what do does.
func captured(t *testing.T, w *lab.World, s lab.Sorter, do func()) []lab.Finding {
	t.Helper()
	c, err := w.CaptureWAN()
	ok(t, err)
	defer c.Close()
	do()
	packets, err := c.Packets()
	ok(t, err)
	return s.Classify(packets)
}

// questions is the findings that are questions, as "way name".
func questions(all []lab.Finding) (list []string) {
	for _, f := range all {
		if !f.Response {
			list = append(list, strings.TrimSpace(string(f.Way)+" "+f.Name))
		}
	}
	return list
}

// TestAPlainRouterLeaks is the control of every leak test: the sorter fires.
func TestAPlainRouterLeaks(t *testing.T) {
	w := world(t, lab.Options{})
	laptop := w.Clients["laptop"]
	for _, network := range []string{"udp", "tcp"} {
		for what, server := range map[string]lab.Pair{"router": w.At.RouterLAN, "ISP": w.At.ISP, "public resolver": w.At.Public} {
			for _, addr := range []netip.Addr{server.V4, server.V6} {
				t.Run(fmt.Sprintf("%s of the %s at %s", network, what, addr), func(t *testing.T) {
					name := canary() + ".foreign.example"
					found := captured(t, w, w.Sorter(), func() {
						_, err := laptop.Lookup(soon(t), addr, name, lab.TypeA, network)
						ok(t, err)
					})
					if got, want := questions(found), []string{"leak " + name}; !slices.Equal(got, want) {
						t.Errorf("found %q, want %q", got, want)
					}
					if got := len(lab.Leaks(found)); got != 2 {
						t.Errorf("found %d leaks, want 2: the question and its answer\n%v", got, found)
					}
				})
			}
		}
	}
}

func TestAnAllowedNameIsDirectAtAnAllowedServerOnly(t *testing.T) {
	w := world(t, lab.Options{})
	for server, want := range map[netip.Addr]string{
		w.At.ISP.V4:    "direct www.domestic.example",
		w.At.ISP.V6:    "direct www.domestic.example",
		w.At.Public.V4: "leak www.domestic.example",
	} {
		found := captured(t, w, w.Sorter(), func() {
			_, err := w.Clients["tv"].Lookup(soon(t), server, "www.domestic.example", lab.TypeAAAA, "udp")
			ok(t, err)
		})
		if got := questions(found); !slices.Equal(got, []string{want}) {
			t.Errorf("asked of %s: %q, want %q", server, got, want)
		}
	}
}

func TestACanaryIsALeakInAnyProtocol(t *testing.T) {
	w := world(t, lab.Options{})
	laptop := w.Clients["laptop"]
	label := canary()
	upper := strings.ToUpper(label)
	for what, do := range map[string]func(){
		"an HTTP host": func() {
			_, err := laptop.GetHTTPAt(soon(t), w.At.Foreign.V4, "http://"+label+".example/")
			ok(t, err)
		},
		"a TLS server name": func() {
			_, err := laptop.GetHTTPAt(soon(t), w.At.Foreign.V6, "https://"+label+".example/")
			ok(t, err)
		},
		"a datagram on any port": func() {
			c, err := laptop.DialUDP(soon(t), netip.AddrPortFrom(w.At.Foreign.V4, lab.EchoPort))
			ok(t, err)
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			io.WriteString(c, "is "+upper+" there")
			_, err = c.Read(make([]byte, 100)) // an echo: it has passed the WAN
			ok(t, err)
		},
		"a connection, cut in two": func() {
			c, err := laptop.DialTCP(soon(t), netip.AddrPortFrom(w.At.Foreign.V4, lab.EchoPort))
			ok(t, err)
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			io.WriteString(c, label[:7])
			r := bufio.NewReader(c)
			_, err = r.ReadString('\n') // an echo: the first half has been sent by itself
			ok(t, err)
			io.WriteString(c, label[7:])
			_, err = io.ReadFull(r, make([]byte, len(label)))
			ok(t, err)
		},
		"an option of an allowed question": func() {
			query := append([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 8}, "domestic\x07example\x00\x00\x01\x00\x01"...)
			query = append(query, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, byte(4+len(label)), 0xfd, 0xe9, 0, byte(len(label)))
			_, err := laptop.Exchange(soon(t), netip.AddrPortFrom(w.At.ISP.V4, 53), append(query, label...), "udp")
			ok(t, err)
		},
	} {
		t.Run(what, func(t *testing.T) {
			found := captured(t, w, w.Sorter(label), do)
			if len(lab.Leaks(found)) == 0 {
				t.Errorf("no leak was found, want one; findings %v", found)
			}
			found = captured(t, w, w.Sorter(canary()), do)
			if leaks := lab.Leaks(found); len(leaks) != 0 {
				t.Errorf("another canary was found: %v", leaks)
			}
		})
	}
}

func TestWhatTheNodeCarriesIsNoLeak(t *testing.T) {
	w := world(t, lab.Options{})
	label := canary()
	name := label + ".foreign.example"
	resolver := w.At.Honest.V4.String() + ":53"
	for what, do := range map[string]func(){
		"DNS over TCP": func() {
			c, _, err := socks(t, w, w.At.Node.V4, lab.Password, 1, resolver)
			ok(t, err)
			c.Write(binary.BigEndian.AppendUint16(nil, uint16(len(question(name)))))
			c.Write(question(name))
			_, err = c.Read(make([]byte, 100))
			ok(t, err)
		},
		"DNS over UDP": func() {
			_, relay, err := socks(t, w, w.At.Node.V4, lab.Password, 3, "0.0.0.0:0")
			ok(t, err)
			datagram(t, w, relay, resolver, string(question(name)))
		},
	} {
		t.Run(what, func(t *testing.T) {
			found := captured(t, w, w.Sorter(label), do)
			if got, want := questions(found), []string{"node " + name}; !slices.Equal(got, want) {
				t.Errorf("found %q, want %q", got, want)
			}
			if leaks := lab.Leaks(found); len(leaks) != 0 {
				t.Errorf("found leaks: %v", leaks)
			}
		})
	}
	log := w.NodeResolverLog()
	if len(log) != 2 || log[0].Name != name || log[1].Name != name {
		t.Errorf("the honest resolver was asked %+v, want %s twice", log, name)
	}
}

func TestPort853IsEncryptedOrALeak(t *testing.T) {
	w := world(t, lab.Options{})
	at := netip.AddrPortFrom(w.At.Public.V4, 853)
	name := canary() + ".foreign.example"
	ask := func(c net.Conn) {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		b := question(name)
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
		c.Read(make([]byte, 100)) // an answer, or a TLS alert
	}
	secure := captured(t, w, w.Sorter(), func() {
		c, err := w.Clients["laptop"].DialTCP(soon(t), at)
		ok(t, err)
		defer c.Close()
		ask(tls.Client(c, &tls.Config{InsecureSkipVerify: true}))
	})
	if got, want := questions(secure), []string{"encrypted"}; !slices.Equal(got, want) {
		t.Errorf("DNS over TLS: found %q, want %q", got, want)
	}
	clear := captured(t, w, w.Sorter(), func() {
		c, err := w.Clients["laptop"].DialTCP(soon(t), at)
		ok(t, err)
		defer c.Close()
		ask(c)
	})
	if got, want := questions(clear), []string{"leak"}; !slices.Equal(got, want) {
		t.Errorf("DNS in the clear on port 853: found %q, want %q", got, want)
	}
}

func TestNoFindingsWithoutNames(t *testing.T) {
	w := world(t, lab.Options{})
	found := captured(t, w, w.Sorter(canary()), func() {
		_, err := w.Clients["laptop"].GetHTTPAt(soon(t), w.At.Foreign.V4, "http://foreign.example/")
		ok(t, err)
	})
	if len(found) != 0 {
		t.Errorf("found %v, want nothing", found)
	}
}

// question is a DNS question for a name's IPv4 address.
func question(name string) []byte {
	b := []byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, label := range strings.Split(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0, 0, lab.TypeA, 0, 1)
}

func FuzzClassifyTakesAnyPackets(f *testing.F) {
	dns := question("foreign.example")
	udp := append([]byte{0x80, 1, 0, 53, 0, byte(8 + len(dns)), 0, 0}, dns...)
	ip := append([]byte{0x45, 0, 0, byte(20 + len(udp)), 0, 0, 0, 0, 64, 17, 0, 0, 203, 0, 113, 2, 203, 0, 113, 53}, udp...)
	f.Add(append(append(make([]byte, 12), 8, 0), ip...))
	f.Fuzz(func(t *testing.T, frame []byte) {
		s := lab.Sorter{Canaries: []string{"zq"}, Inside: func(proto uint8, at netip.AddrPort) bool { return at.Port() == 1080 }}
		for _, finding := range s.Classify([]nstest.Packet{{Frame: frame}, {Frame: frame}}) {
			if finding.Way == "" || finding.Reason == "" {
				t.Errorf("finding without way or reason: %+v", finding)
			}
		}
	})
}
