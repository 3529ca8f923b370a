package outbound

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestABurstArrivesAsTheDatagramsThatItWas sends runs of all shapes, pieces
// longer than a path's MTU and empty ones among them.
func TestABurstArrivesAsTheDatagramsThatItWas(t *testing.T) {
	to, far := burstPair(t)
	for name, header := range map[string][]byte{"without a header": nil, "behind a header": []byte("header")} {
		t.Run(name, func(t *testing.T) {
			var b burst
			random := rand.New(rand.NewPCG(1, 2))
			for range 300 {
				sent := randomRun(random)
				if err := b.write(to, header, sent, netip.AddrPort{}); err != nil {
					t.Fatal(err)
				}
				for i, want := range sent {
					if got := nextDatagram(t, far); !bytes.Equal(got, append(append([]byte(nil), header...), want...)) {
						t.Fatalf("datagram %d of %d has %d bytes, want %d behind %d", i, len(sent), len(got), len(want), len(header))
					}
				}
			}
		})
	}
}

// TestABurstIsSentOneByOneWhereTheKernelCannotCut takes the kernel's refusal as given.
func TestABurstIsSentOneByOneWhereTheKernelCannotCut(t *testing.T) {
	to, far := burstPair(t)
	var b burst
	b.impossible.Store(true)
	sent := [][]byte{[]byte("one"), []byte("two"), []byte("six")}
	if err := b.write(to, nil, sent, netip.AddrPort{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range sent {
		if got := nextDatagram(t, far); !bytes.Equal(got, want) {
			t.Fatalf("received %q, want %q", got, want)
		}
	}
}

// TestOnlyDatagramsOfOneLengthGoAtOnce, but for a shorter one at the end.
func TestOnlyDatagramsOfOneLengthGoAtOnce(t *testing.T) {
	of := func(sizes ...int) (run [][]byte) {
		for _, n := range sizes {
			run = append(run, make([]byte, n))
		}
		return run
	}
	many := make([]int, 100)
	for i := range many {
		many[i] = 10
	}
	for _, tt := range []struct {
		name   string
		run    [][]byte
		header int
		want   int
	}{
		{"a single one", of(7), 0, 1},
		{"all of one length", of(7, 7, 7), 0, 3},
		{"a shorter one is the last", of(7, 5, 7), 0, 2},
		{"a longer one is for the next burst", of(7, 7, 9), 0, 2},
		{"an empty one cannot be cut off", of(7, 0, 7), 0, 1},
		{"an empty one behind a header is a short one", of(7, 0, 7), 4, 2},
		{"more than the kernel takes", of(many...), 0, maxSegments},
		{"longer together than a datagram", of(30000, 30000, 30000), 0, 2},
	} {
		if got := alike(tt.run, tt.header); got != tt.want {
			t.Errorf("%s: alike = %d, want %d", tt.name, got, tt.want)
		}
	}
}

func randomRun(random *rand.Rand) (run [][]byte) {
	size := 1 + random.IntN(1500)
	for range 1 + random.IntN(16) {
		if random.IntN(5) == 0 {
			size = random.IntN(2000)
		}
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		run = append(run, payload)
	}
	return run
}

// burstPair is a socket connected to another one.
func burstPair(t *testing.T) (to, far *net.UDPConn) {
	t.Helper()
	far, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	if to, err = net.DialUDP("udp4", nil, far.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() })
	return to, far
}

func nextDatagram(t *testing.T, c *net.UDPConn) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}
