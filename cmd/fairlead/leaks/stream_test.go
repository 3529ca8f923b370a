package leaks

import (
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func indexOf(device string) (int, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return 0, err
	}
	return link.Index, nil
}

// asked is a question for an address of a name, as it is on the wire.
func asked(name string) string {
	b := "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	for label := range splitLabels(name) {
		b += string([]byte{byte(len(label))}) + label
	}
	return b + "\x00\x00\x01\x00\x01"
}

func splitLabels(name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i <= len(name); i++ {
			if i == len(name) || name[i] == '.' {
				if !yield(name[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}

func framed(message string) string {
	return string([]byte{byte(len(message) >> 8), byte(len(message))}) + message
}

// segment is a piece of a connection that began at sequence number 1000.
func segment(t *testing.T, at int, syn bool, payload string) packet {
	t.Helper()
	var flags byte
	if syn {
		flags = flagSYN
	}
	p, decoded := decode(ipv4(TCP, 5, 0, tcp(53, uint32(1000+at), flags, payload)), time.Now())
	if !decoded {
		t.Fatal("a segment cannot be decoded")
	}
	return p
}

func TestAConnectionIsPutTogether(t *testing.T) {
	one, two := framed(asked("one.example")), framed(asked("two.example"))
	both := one + two
	type piece struct {
		at      int
		syn     bool
		payload string
	}
	begin := piece{0, true, ""}
	for _, tt := range []struct {
		sentence string
		pieces   []piece
		want     []string
	}{
		{"in one piece", []piece{begin, {1, false, both}}, []string{"one.example", "two.example"}},
		{"the length by itself", []piece{begin, {1, false, one[:2]}, {3, false, one[2:]}}, []string{"one.example"}},
		{"cut within the name", []piece{begin, {1, false, both[:20]}, {21, false, both[20:]}}, []string{"one.example", "two.example"}},
		{"sent again", []piece{begin, {1, false, one}, {1, false, one}, {1 + len(one), false, two}}, []string{"one.example", "two.example"}},
		{"sent again with more", []piece{begin, {1, false, one[:9]}, {1, false, both}}, []string{"one.example", "two.example"}},
		{"with a hole, after which nothing is sure", []piece{begin, {1, false, one[:9]}, {12, false, one[11:]}, {1, false, one}}, nil},
		{"without its beginning", []piece{{1, false, one}}, nil},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			var s streams
			var got []string
			for _, piece := range tt.pieces {
				if f, whole := s.add(segment(t, piece.at, piece.syn, piece.payload)); whole {
					messages, rest := f.Messages(f.Data)
					if len(rest) > 0 {
						t.Errorf("%d bytes are left", len(rest))
					}
					for _, m := range messages {
						got = append(got, m.Name)
					}
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

func TestConnectionsAndWhatIsHeldOfThemAreBounded(t *testing.T) {
	var s streams
	for port := range 3 * maxStreams {
		p := segment(t, 0, true, "")
		p.Src = netAddrPort(p, uint16(port))
		s.add(p)
	}
	if len(s.open) > maxStreams {
		t.Errorf("%d connections are followed, want %d at most", len(s.open), maxStreams)
	}
	s = streams{}
	s.add(segment(t, 0, true, ""))
	held := "\xff\xff" + string(make([]byte, 1000)) // a message that never ends
	at := 1
	for range 10 {
		if f, whole := s.add(segment(t, at, false, held)); whole {
			if len(f.Data) > 2*maxStream || len(s.open) > 0 {
				t.Errorf("%d bytes were held of a connection, which is still followed: %t", len(f.Data), len(s.open) > 0)
			}
			return
		}
		at += len(held)
	}
	t.Error("a message that never ends is held for ever")
}
