package leaks

import "golang.org/x/sys/unix"

// snapLength is how much of a packet is kept: more than any question takes. What
// it cuts off is not looked at.
const snapLength = 2048

// Instructions that the filter is made of (linux/filter.h). The packet begins
// with its IP header, whatever the link: a datagram socket of AF_PACKET passes
// neither Ethernet nor VLAN nor PPP headers on.
const (
	loadByte   = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	loadHalf   = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	loadWord   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	loadBehind = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
	loadLength = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH // four times the low nibble: IPv4's header length
	jump       = unix.BPF_JMP | unix.BPF_JA
	jumpIf     = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpIfBits = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	give       = unix.BPF_RET | unix.BPF_K
)

// What the kernel knows of a packet beside its bytes (linux/filter.h).
const (
	packetType = 0xfffff000 + 4 // SKF_AD_OFF + SKF_AD_PKTTYPE
	protocol   = 0xfffff000 + 0 // SKF_AD_OFF + SKF_AD_PROTOCOL
)

// step is an instruction whose jumps have names. An empty name is the next one.
type step struct {
	label string
	code  uint16
	k     uint32
	yes   string
	no    string
}

// filter lets outgoing packets pass to ports that carry names, and to others
// where questions are asked in the clear. A load behind the packet's end drops it.
func filter(others []uint16) []unix.SockFilter {
	program := []step{
		{code: loadWord, k: packetType}, {code: jumpIf, k: unix.PACKET_OUTGOING, no: "drop"},
		{code: loadWord, k: protocol}, {code: jumpIf, k: unix.ETH_P_IP, yes: "ipv4"}, {code: jumpIf, k: unix.ETH_P_IPV6, yes: "ipv6", no: "drop"},

		{label: "ipv4", code: loadByte, k: 9}, {code: jumpIf, k: UDP, yes: "first4"}, {code: jumpIf, k: TCP, no: "drop"},
		{label: "first4", code: loadHalf, k: 6}, {code: jumpIfBits, k: 0x1fff, yes: "drop"}, // RFC 791: the fragment's offset
		{code: loadLength, k: 0}, {code: loadBehind, k: 2}, {code: jump, yes: "port"},

		{label: "ipv6", code: loadByte, k: 6}, {code: jumpIf, k: UDP, yes: "port6"}, {code: jumpIf, k: TCP, yes: "port6"},
		{code: jumpIf, k: fragment, yes: "first6"},
		// Other headers are rare, and of any length: whoever reads the packet goes through them.
		{code: jumpIf, k: hopByHop, yes: "more6"}, {code: jumpIf, k: routing, yes: "more6"}, {code: jumpIf, k: options, no: "drop"},
		{label: "more6", code: loadByte, k: 40}, {code: jumpIf, k: icmpv6, yes: "drop", no: "keep"}, // the reports of listeners to multicast
		{label: "port6", code: loadHalf, k: 40 + 2}, {code: jump, yes: "port"},
		{label: "first6", code: loadHalf, k: 40 + 2}, {code: jumpIfBits, k: 0xfff8, yes: "drop"}, // RFC 8200 section 4.5
		{code: loadByte, k: 40}, {code: jumpIf, k: UDP, yes: "port44"}, {code: jumpIf, k: TCP, yes: "port44"},
		{code: jumpIf, k: hopByHop, yes: "keep"}, {code: jumpIf, k: routing, yes: "keep"}, {code: jumpIf, k: fragment, yes: "keep"}, {code: jumpIf, k: options, yes: "keep", no: "drop"},
		{label: "port44", code: loadHalf, k: 40 + 8 + 2},
	}
	program = append(program, step{label: "port", code: jumpIf, k: portDNS, yes: "keep"})
	for _, p := range append([]uint16{portDoT, portMDNS, portLLMNR, portNetBIOS}, others...) {
		program = append(program, step{code: jumpIf, k: uint32(p), yes: "keep"})
	}
	return assemble(append(program, step{label: "drop", code: give, k: 0}, step{label: "keep", code: give, k: snapLength}))
}

// assemble turns names into distances, which are at most 255 for conditions.
func assemble(program []step) []unix.SockFilter {
	at := map[string]int{}
	for i, s := range program {
		if s.label != "" {
			at[s.label] = i
		}
	}
	distance := func(from int, label string) int {
		if label == "" {
			return 0
		}
		return at[label] - from - 1
	}
	code := make([]unix.SockFilter, len(program))
	for i, s := range program {
		code[i] = unix.SockFilter{Code: s.code, K: s.k}
		if s.code == jump {
			code[i].K = uint32(distance(i, s.yes))
			continue
		}
		code[i].Jt, code[i].Jf = uint8(distance(i, s.yes)), uint8(distance(i, s.no))
	}
	return code
}
