package outbound

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A testServer is a DNS server that answers each query with what its function
// returns, in order.
type testServer struct {
	addr   netip.AddrPort
	answer atomic.Pointer[func(query []byte, kind uint16) [][]byte]
	ports  sync.Map // that asked
	got    atomic.Int64
}

func startServer(t testing.TB, answer func(query []byte, kind uint16) [][]byte) *testServer {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{addr: c.LocalAddr().(*net.UDPAddr).AddrPort()}
	s.answer.Store(&answer)
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 512)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			s.got.Add(1)
			s.ports.Store(from.Port(), true)
			query := bytes.Clone(b[:n])
			for _, a := range (*s.answer.Load())(query, binary.BigEndian.Uint16(query[n-4:])) {
				c.WriteToUDPAddrPort(a, from)
			}
		}
	}()
	return s
}

// record is a resource record of the name in the question.
func record(kind uint16, ttl uint32, data []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xc0, dnsHeader}, kind)
	b = binary.BigEndian.AppendUint16(b, dnsIN)
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// reply is an answer to query.
func reply(query []byte, code byte, records ...[]byte) []byte {
	b := bytes.Clone(query)
	b[2], b[3] = 0x81, 0x80|code
	binary.BigEndian.PutUint16(b[6:], uint16(len(records)))
	return append(b, bytes.Join(records, nil)...)
}

var (
	v4 = netip.MustParseAddr("192.0.2.80")
	v6 = netip.MustParseAddr("2001:db8::80")
)

// both answers with one address of each family.
func both(query []byte, kind uint16) [][]byte {
	if kind == dnsA {
		return [][]byte{reply(query, 0, record(dnsA, 300, v4.AsSlice()))}
	}
	return [][]byte{reply(query, 0, record(dnsAAAA, 300, v6.AsSlice()))}
}

func lookupOK(t *testing.T, r *Bootstrap, want ...netip.Addr) {
	t.Helper()
	got, err := r.LookupHost(soon(t), "node.example")
	slices.SortFunc(got, netip.Addr.Compare)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("LookupHost = %v, %v; want %v", got, err, want)
	}
}

// expire lets the time of what is known of node.example be over.
func expire(r *Bootstrap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names["node.example"].until = time.Time{}
}

func TestBothFamiliesAreAskedOnceAndKept(t *testing.T) {
	s := startServer(t, both)
	r := NewBootstrap(fixed(s.addr), 0)
	for range 3 {
		lookupOK(t, r, v4, v6)
	}
	if got := s.got.Load(); got != 2 {
		t.Errorf("%d queries, want 2", got)
	}
	expire(r)
	lookupOK(t, r, v4, v6)
	if got := s.got.Load(); got != 4 {
		t.Errorf("%d queries after the TTL, want 4", got)
	}
}

func TestCallersAtTheSameTimeShareOneQuestion(t *testing.T) {
	asked, release := make(chan struct{}, 2), make(chan struct{})
	s := startServer(t, func(query []byte, kind uint16) [][]byte {
		asked <- struct{}{}
		<-release
		return both(query, kind)
	})
	r := NewBootstrap(fixed(s.addr), 0)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { lookupOK(t, r, v4, v6) })
	}
	<-asked
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.LookupHost(ctx, "node.example"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up: %v, want %v", err, context.Canceled)
	}
	close(release)
	wg.Wait()
	if got := s.got.Load(); got != 2 {
		t.Errorf("%d queries, want 2", got)
	}
}

func TestWrongAnswersAreIgnored(t *testing.T) {
	s := startServer(t, func(query []byte, kind uint16) [][]byte {
		forged := netip.MustParseAddr("203.0.113.66").AsSlice()
		good := both(query, kind)[0]
		otherID, otherName, otherType, aQuery, twoQuestions :=
			reply(query, 0, record(dnsA, 9, forged)), reply(query, 0, record(dnsA, 9, forged)),
			reply(query, 0, record(dnsA, 9, forged)), bytes.Clone(query), bytes.Clone(good)
		otherID[0] ^= 0xff
		otherName[dnsHeader+1] ^= 1
		otherType[len(query)-3] ^= 0x40
		twoQuestions[5] = 2
		return [][]byte{otherID, otherName, otherType, aQuery, twoQuestions, query[:5], {}, good}
	})
	lookupOK(t, NewBootstrap(fixed(s.addr), 0), v4, v6)
}

func TestAnAliasIsFollowedWithinTheAnswer(t *testing.T) {
	s := startServer(t, func(query []byte, kind uint16) [][]byte {
		if kind == dnsAAAA {
			return [][]byte{reply(query, 0)} // NODATA
		}
		alias := record(5, 60, []byte("\x05alias\x00"))
		return [][]byte{reply(query, 0, alias, record(dnsA, 300, v4.AsSlice()))}
	})
	r := NewBootstrap(fixed(s.addr), 0)
	lookupOK(t, r, v4)
	if left := time.Until(r.names["node.example"].until); left > time.Minute {
		t.Errorf("kept for %v, want at most the alias's minute", left)
	}
}

func TestOneFamilyIsEnoughIfTheOtherIsNotAnswered(t *testing.T) {
	s := startServer(t, func(query []byte, kind uint16) [][]byte {
		if kind == dnsAAAA {
			return nil
		}
		return both(query, kind)
	})
	began := time.Now()
	lookupOK(t, NewBootstrap(fixed(s.addr), 0), v4)
	if took := time.Since(began); took >= tryTimeout {
		t.Errorf("took %v, want about %v", took, siblingWait)
	}
}

func TestTheNextServerIsAskedIfOneFails(t *testing.T) {
	t.Parallel()
	silent := startServer(t, func([]byte, uint16) [][]byte { return nil })
	broken := startServer(t, func(query []byte, _ uint16) [][]byte { return [][]byte{reply(query, 2)} })
	good := startServer(t, both)
	lookupOK(t, NewBootstrap(fixed(broken.addr, silent.addr, good.addr), 0), v4, v6)
}

func TestTheLastGoodAddressesOutliveDeadServers(t *testing.T) {
	t.Parallel()
	s := startServer(t, both)
	r := NewBootstrap(fixed(s.addr), 0)
	lookupOK(t, r, v4, v6)
	nothing := func([]byte, uint16) [][]byte { return nil }
	s.answer.Store(&nothing)
	expire(r)
	began := time.Now()
	lookupOK(t, r, v4, v6)
	if took := time.Since(began); took > staleWait+500*time.Millisecond {
		t.Errorf("took %v, want about %v", took, staleWait)
	}
	noName := func(query []byte, _ uint16) [][]byte { return [][]byte{reply(query, codeNoName)} }
	s.answer.Store(&noName)
	expire(r)
	lookupOK(t, r, v4, v6)
}

func TestWhatCannotBeResolvedIsAnError(t *testing.T) {
	s := startServer(t, func(query []byte, _ uint16) [][]byte { return [][]byte{reply(query, codeNoName)} })
	empty := startServer(t, func(query []byte, _ uint16) [][]byte { return [][]byte{reply(query, 0)} })
	for _, tt := range []struct {
		name    string
		servers []netip.AddrPort
		host    string
		want    string
	}{
		{"a name that does not exist", []netip.AddrPort{s.addr}, "node.example", "no such name"},
		{"a name without addresses", []netip.AddrPort{empty.addr}, "node.example", "no address"},
		{"no servers", nil, "node.example", "no bootstrap server"},
		{"an empty label", []netip.AddrPort{s.addr}, "node..example", "label"},
		{"a long label", []netip.AddrPort{s.addr}, strings.Repeat("a", 64) + ".example", "label"},
		{"a long name", []netip.AddrPort{s.addr}, strings.Repeat("a.", 127) + "a", "host name"},
	} {
		_, err := NewBootstrap(fixed(tt.servers...), 0).LookupHost(soon(t), tt.host)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestEveryQuestionHasItsOwnPort(t *testing.T) {
	s := startServer(t, both)
	r := NewBootstrap(fixed(s.addr), 0)
	for range 8 {
		// On a slow machine the answer for the other family may come too late.
		if _, err := r.LookupHost(soon(t), "node.example"); err != nil {
			t.Fatal(err)
		}
		expire(r)
	}
	ports := 0
	s.ports.Range(func(any, any) bool { ports++; return true })
	if ports < 12 {
		t.Errorf("16 questions came from %d ports", ports)
	}
}

func FuzzBootstrapAnswer(f *testing.F) {
	query, err := buildQuery(7, "node.example", dnsA)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply(query, 0, record(dnsA, 300, v4.AsSlice())))
	f.Add(reply(query, 0, record(5, 60, []byte("\x05alias\x00")), record(dnsA, 1<<31, v4.AsSlice())))
	f.Add(reply(query, codeNoName))
	f.Add(reply(query, 0, record(dnsA, 0, v6.AsSlice())))
	f.Add(append(reply(query, 0), 0xc0))
	f.Fuzz(func(t *testing.T, answer []byte) {
		addrs, ttl, err := parseAnswer(query, answer, dnsA)
		if err != nil {
			return
		}
		if ttl < minKept || ttl > maxKept {
			t.Errorf("kept for %v, want %v to %v", ttl, minKept, maxKept)
		}
		for _, a := range addrs {
			if !a.Is4() || !bytes.Contains(answer, a.AsSlice()) {
				t.Errorf("%v is no IPv4 address in % x", a, answer)
			}
		}
	})
}

// fixed are servers that stay the same.
func fixed(servers ...netip.AddrPort) func() []netip.AddrPort {
	return func() []netip.AddrPort { return servers }
}
