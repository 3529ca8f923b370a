package leaks

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/nstest"
)

// ipv4 is a packet with a header of so many words.
func ipv4(proto uint8, words int, fragment uint16, body []byte) []byte {
	b := make([]byte, words*4)
	b[0], b[9] = 0x40|byte(words), proto
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(body)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	copy(b[12:], []byte{203, 0, 113, 2, 203, 0, 113, 53})
	return append(b, body...)
}

// ipv6 is a packet with what follows its header.
func ipv6(next uint8, body ...byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, next
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	b[8], b[24] = 0x20, 0x20
	return append(b, body...)
}

func udp(to uint16, payload string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x9c, 0x40}, to)
	return append(append(b, 0, byte(8+len(payload)), 0, 0), payload...)
}

func tcp(to uint16, seq uint32, flags byte, payload string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x9c, 0x41}, to)
	b = binary.BigEndian.AppendUint32(b, seq)
	return append(append(b, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0), payload...)
}

func extended(next uint8, fill int, rest []byte) []byte {
	return append(append([]byte{next, byte(fill)}, make([]byte, 6+8*fill)...), rest...)
}

// odd are packets, and whether the filter lets them pass.
func odd() map[string]struct {
	packet []byte
	pass   bool
} {
	const laterFragment, firstFragment = 0x2001, 0x2000
	return map[string]struct {
		packet []byte
		pass   bool
	}{
		"a question":                               {ipv4(UDP, 5, 0, udp(53, "q")), true},
		"one over TCP":                             {ipv4(TCP, 5, 0, tcp(53, 1, 0, "q")), true},
		"TLS":                                      {ipv4(TCP, 5, 0, tcp(853, 1, 0, "q")), true},
		"a name of the link":                       {ipv4(UDP, 5, 0, udp(5353, "q")), true},
		"a port of the configuration":              {ipv4(UDP, 5, 0, udp(5300, "q")), true},
		"another port":                             {ipv4(UDP, 5, 0, udp(443, "q")), false},
		"an answer":                                {ipv4(UDP, 5, 0, append([]byte{0, 53}, udp(40000, "a")[2:]...)), false},
		"a header with options":                    {ipv4(UDP, 15, 0, udp(53, "q")), true},
		"the first fragment":                       {ipv4(UDP, 5, firstFragment, udp(53, "q")), true},
		"a later fragment":                         {ipv4(UDP, 5, laterFragment, udp(53, "q")), false},
		"another protocol":                         {ipv4(47, 5, 0, udp(53, "q")), false},
		"a packet that ends before its ports":      {ipv4(UDP, 5, 0, []byte{1, 2}), false},
		"one that ends within its header":          {ipv4(UDP, 5, 0, nil)[:18], false},
		"one whose header is said to be longer":    {append([]byte{0x4f}, ipv4(UDP, 5, 0, udp(53, ""))[1:]...), false},
		"a question over IPv6":                     {ipv6(UDP, udp(53, "q")...), true},
		"one over IPv6 and TCP":                    {ipv6(TCP, tcp(53, 1, 0, "q")...), true},
		"another port over IPv6":                   {ipv6(UDP, udp(443, "q")...), false},
		"IPv6 with options before the question":    {ipv6(hopByHop, extended(UDP, 1, udp(53, "q"))...), true},
		"IPv6 with options before ICMP":            {ipv6(hopByHop, extended(icmpv6, 0, []byte{143, 0, 0, 0})...), false},
		"the first fragment of IPv6":               {ipv6(fragment, append([]byte{UDP, 0, 0, 1, 0, 0, 0, 1}, udp(53, "q")...)...), true},
		"the first fragment to another port":       {ipv6(fragment, append([]byte{UDP, 0, 0, 1, 0, 0, 0, 1}, udp(443, "q")...)...), false},
		"a later fragment of IPv6":                 {ipv6(fragment, append([]byte{UDP, 0, 0, 9, 0, 0, 0, 1}, udp(53, "q")...)...), false},
		"the first fragment with options behind":   {ipv6(fragment, append([]byte{options, 0, 0, 1, 0, 0, 0, 1}, extended(UDP, 0, udp(53, "q"))...)...), true},
		"ICMP over IPv6":                           {ipv6(58, 128, 0, 0, 0), false},
		"IPv6 that ends before its ports":          {ipv6(UDP, 1, 2, 0), false},
		"a long question, which is cut, over IPv6": {ipv6(UDP, udp(53, string(make([]byte, 1400)))...), true},
	}
}

// runFilter executes the program on a packet as the kernel does. A jump that
// leads nowhere is a panic.
func runFilter(program []unix.SockFilter, ether uint16, packet []byte) bool {
	var a, x uint32
	load := func(at, size uint32) bool {
		switch at {
		case packetType:
			a = unix.PACKET_OUTGOING
			return true
		case protocol:
			a = uint32(ether)
			return true
		}
		if uint64(at)+uint64(size) > uint64(len(packet)) {
			return false
		}
		a = 0
		for _, b := range packet[at : at+size] {
			a = a<<8 | uint32(b)
		}
		return true
	}
	for i := 0; ; i++ {
		in, ok := program[i], true
		switch in.Code {
		case loadByte:
			ok = load(in.K, 1)
		case loadHalf:
			ok = load(in.K, 2)
		case loadWord:
			ok = load(in.K, 4)
		case loadBehind:
			ok = load(x+in.K, 2)
		case loadLength:
			if ok = int(in.K) < len(packet); ok {
				x = 4 * uint32(packet[in.K]&0xf)
			}
		case jump:
			i += int(in.K)
		case jumpIf, jumpIfBits:
			hold := in.Code == jumpIf && a == in.K || in.Code == jumpIfBits && a&in.K != 0
			if hold {
				i += int(in.Jt)
			} else {
				i += int(in.Jf)
			}
		case give:
			return in.K > 0
		default:
			panic("an instruction that the filter should not have")
		}
		if !ok {
			return false
		}
	}
}

func etherOf(packet []byte) uint16 {
	if len(packet) > 0 && packet[0]>>4 == 6 {
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

func TestTheKernelKeepsQuestionsAndNothingElse(t *testing.T) {
	router, internet := newPair(t)
	var c *capture
	program := filter([]uint16{5300})
	ok(t, router.Do(func() (err error) { c, err = openCapture("wan", program); return err }))
	defer c.close()
	for sentence, tt := range odd() {
		if got := runFilter(program, etherOf(tt.packet), tt.packet); got != tt.pass {
			t.Errorf("%s: the program says %t, want %t", sentence, got, tt.pass)
		}
		inject(t, router, "wan", tt.packet)
		var kept [][]byte
		ok(t, c.drain(func(b []byte) { kept = append(kept, slices.Clone(b)) }))
		switch {
		case (len(kept) == 1) != tt.pass:
			t.Errorf("%s: %d packets were captured, want it to pass: %t", sentence, len(kept), tt.pass)
		case tt.pass && !slices.Equal(kept[0], tt.packet):
			t.Errorf("%s: captured % x, want % x", sentence, kept[0], tt.packet)
		}
	}
	inject(t, internet, "wan-peer", ipv4(UDP, 5, 0, udp(53, "a question that comes in")))
	ok(t, c.drain(func(b []byte) { t.Errorf("captured % x, which came in", b) }))
}

// newPair is a router's namespace and its neighbour's, joined by the router's wan.
func newPair(t testing.TB) (router, internet *nstest.NS) {
	t.Helper()
	for _, ns := range []**nstest.NS{&router, &internet} {
		made, err := nstest.New("leaks")
		ok(t, err)
		t.Cleanup(func() { made.Close() })
		*ns = made
	}
	ok(t, nstest.Veth(nstest.End{NS: router, Dev: "wan"}, nstest.End{NS: internet, Dev: "wan-peer"}))
	return router, internet
}

// inject sends a packet by a device, as a driver's queue would see it. It has
// left when the call returns.
func inject(t testing.TB, ns *nstest.NS, device string, packets ...[]byte) {
	t.Helper()
	ok(t, ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		index, err := indexOf(device)
		if err != nil {
			return err
		}
		for _, p := range packets {
			ether := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherOf(p)))
			to := &unix.SockaddrLinklayer{Protocol: ether, Ifindex: index, Halen: 6, Addr: [8]byte{2, 0, 0, 0, 0, 9}}
			if err := unix.Sendto(fd, p, 0, to); err != nil {
				return err
			}
		}
		return nil
	}))
}

func FuzzWhatIsDecodedPassesTheFilter(f *testing.F) {
	for _, tt := range odd() {
		f.Add(tt.packet)
	}
	program := filter([]uint16{5300})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := decode(b, time.Time{})
		passes := runFilter(program, etherOf(b), b)
		if ok && (p.Carries(portDNS) && p.Dst.Port() == portDNS) && !passes && p.Src.Addr() != (netip.Addr{}) {
			t.Errorf("the filter drops % x, which is a question to %s", b, p.Dst)
		}
		if ok && passes && p.Proto != TCP && p.Proto != UDP {
			t.Errorf("% x is decoded as protocol %d", b, p.Proto)
		}
		var s streams
		if flow, whole := s.add(p); ok && p.Proto == TCP && whole && len(flow.Data) == 0 {
			t.Error("a stream gave nothing")
		}
		judge := func(Flow, Message) (Way, string) { return Direct, "any" }
		if ok && len(p.Data) > 0 {
			found, _ := Sort(p.Flow, judge)
			for _, f := range found {
				if f.Way == "" || f.Reason == "" || f.entry().Reason == "" {
					t.Errorf("a finding without way or reason: %+v", f)
				}
			}
		}
	})
}
