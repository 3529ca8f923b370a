package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// value is a constant as nft writes it and as it lies in a register: addresses
// and ports in network byte order, marks and the kernel's enums in the host's.
type value struct {
	text string
	data []byte
}

func byteValue(text string, b byte) value { return value{text, []byte{b}} }

func hostValue(text string, n uint32) value {
	return value{text, binaryutil.NativeEndian.PutUint32(n)}
}

func markValue(m uint32) value { return hostValue(fmt.Sprintf("0x%08x", m), m) }

func portValue(p uint16) value {
	return value{fmt.Sprint(p), binary.BigEndian.AppendUint16(nil, p)}
}

func addrValue(a netip.Addr) value { return value{a.String(), a.AsSlice()} }

func tcp() value { return byteValue("tcp", unix.IPPROTO_TCP) }
func udp() value { return byteValue("udp", unix.IPPROTO_UDP) }

// Address types of linux/rtnetlink.h, as the routing table sees an address.
func local() value     { return hostValue("local", unix.RTN_LOCAL) }
func broadcast() value { return hostValue("broadcast", unix.RTN_BROADCAST) }
func anycast() value   { return hostValue("anycast", unix.RTN_ANYCAST) }
func multicast() value { return hostValue("multicast", unix.RTN_MULTICAST) }

// Directions of linux/netfilter/nf_conntrack_tuple_common.h.
func original() value { return byteValue("original", 0) }
func reply() value    { return byteValue("reply", 1) }

// family is one of the two address families.
type family struct {
	name           string // of its header: ip, ip6
	proto          value  // of meta nfproto
	source         uint32 // offset of the source address; the destination follows it
	size           uint32 // of an address, in bytes
	originalTarget uint32 // ct key of the destination that the client asked for
}

// Offsets are those of RFC 791 section 3.1 and RFC 8200 section 3; the ct keys
// NFT_CT_DST_IP and NFT_CT_DST_IP6 are those of linux/netfilter/nf_tables.h.
func v4() family {
	return family{"ip", byteValue("ipv4", unix.NFPROTO_IPV4), 12, 4, 20}
}

func v6() family {
	return family{"ip6", byteValue("ipv6", unix.NFPROTO_IPV6), 8, 16, 22}
}

func families() []family { return []family{v4(), v6()} }

// suffix tells the sets of both families apart: way4_g1, way6_g1.
func (f family) suffix() string { return f.proto.text[len("ipv"):] }

// version is that of the IP header.
func (f family) version() uint8 { return f.suffix()[0] - '0' }

func (f family) has(a netip.Addr) bool { return a.IsValid() && a.BitLen() == int(f.size)*8 }

// field is what a rule reads from a packet into registers.
type field struct {
	name   string
	size   uint32 // bytes
	masked bool   // by and
	needs  []need // conditions that the name implies: nft adds them when it reads text
	load   func(e *encoder, register uint32)
}

// need is a condition under which a field exists.
type need struct {
	name  string
	key   expr.MetaKey
	value []byte
}

func (n need) same(m need) bool { return n.key == m.key && bytes.Equal(n.value, m.value) }

// one is a field that a single expression loads.
func one(name string, size uint32, load func(register uint32) expr.Any, needs ...need) field {
	return field{name: name, size: size, needs: needs, load: func(e *encoder, register uint32) { e.add(load(register)) }}
}

func meta(name string, size uint32, key expr.MetaKey) field {
	return one(name, size, func(r uint32) expr.Any { return &expr.Meta{Key: key, Register: r} })
}

func nfproto() field  { return meta("meta nfproto", 1, expr.MetaKeyNFPROTO) }
func l4proto() field  { return meta("meta l4proto", 1, expr.MetaKeyL4PROTO) }
func metaMark() field { return meta("meta mark", 4, expr.MetaKeyMARK) }
func iifname() field  { return meta("iifname", unix.IFNAMSIZ, expr.MetaKeyIIFNAME) }
func oifname() field  { return meta("oifname", unix.IFNAMSIZ, expr.MetaKeyOIFNAME) }

func ct(name string, size uint32, key expr.CtKey) field {
	return one(name, size, func(r uint32) expr.Any { return &expr.Ct{Key: key, Register: r} })
}

func ctMark() field      { return ct("ct mark", 4, expr.CtKeyMARK) }
func ctState() field     { return ct("ct state", 4, expr.CtKeySTATE) }
func ctStatus() field    { return ct("ct status", 4, expr.CtKeySTATUS) }
func ctDirection() field { return ct("ct direction", 1, expr.CtKeyDIRECTION) }

// originalTarget is the destination that the client asked for, before any DNAT.
func originalTarget(f family) field {
	return field{name: "ct original " + f.name + " daddr", size: f.size, load: func(e *encoder, register uint32) {
		e.addOriginal(f.originalTarget, register)
	}}
}

// Bits of ct status and ct state, from linux/netfilter/nf_conntrack_common.h
// (IPS_DST_NAT) and nf_tables.h (NF_CT_STATE_BIT of IP_CT_NEW).
func dnat() value     { return hostValue("dnat", 1<<5) }
func newState() value { return hostValue("new", expr.CtStateBitNEW) }

func fibType(which string, flags expr.Fib) field {
	return one("fib "+which+" type", 4, func(r uint32) expr.Any {
		flags.Register, flags.ResultADDRTYPE = r, true
		return &flags
	})
}

func fibTarget() field { return fibType("daddr", expr.Fib{FlagDADDR: true}) }
func fibSource() field { return fibType("saddr", expr.Fib{FlagSADDR: true}) }

func payload(name string, base expr.PayloadBase, offset, size uint32, needs ...need) field {
	return one(name, size, func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: base, Offset: offset, Len: size}
	}, needs...)
}

func needsFamily(f family) need {
	return need{"nfproto", expr.MetaKeyNFPROTO, f.proto.data}
}

func needsTransport(v value) need {
	return need{"l4proto", expr.MetaKeyL4PROTO, v.data}
}

func source(f family) field {
	return payload(f.name+" saddr", expr.PayloadBaseNetworkHeader, f.source, f.size, needsFamily(f))
}

func target(f family) field {
	return payload(f.name+" daddr", expr.PayloadBaseNetworkHeader, f.source+f.size, f.size, needsFamily(f))
}

// Ports lie at the same place in the headers of TCP (RFC 9293) and UDP (RFC 768).
func targetPort() field { return payload("th dport", expr.PayloadBaseTransportHeader, 2, 2) }

func sourcePort() field { return payload("th sport", expr.PayloadBaseTransportHeader, 0, 2) }

func udpPort(name string, offset uint32) field {
	return payload("udp "+name, expr.PayloadBaseTransportHeader, offset, 2, needsTransport(udp()))
}

func tcpFlags() field {
	return payload("tcp flags", expr.PayloadBaseTransportHeader, 13, 1, needsTransport(tcp()))
}

// sourceMAC exists on Ethernet only; elsewhere the link header would be read as garbage.
func sourceMAC() field {
	ether := binaryutil.NativeEndian.PutUint16(unix.ARPHRD_ETHER)
	return payload("ether saddr", expr.PayloadBaseLLHeader, 6, 6, need{"iiftype", expr.MetaKeyIIFTYPE, ether})
}

// transparent tells whether the packet's socket is one of the daemon's.
func transparent() field {
	return one("socket transparent", 1, func(r uint32) expr.Any {
		return &expr.Socket{Key: expr.SocketKeyTransparent, Register: r}
	})
}

// and is the field under a mask.
func (f field) and(mask value) field {
	load, size := f.load, f.size
	f.name += " & " + mask.text
	f.masked = true
	f.load = func(e *encoder, register uint32) {
		load(e, register)
		e.add(&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: size,
			Mask: mask.data, Xor: make([]byte, size)})
	}
	return f
}

// concat is the concatenation of fields: each starts at a register of four bytes.
func concat(fields ...field) field {
	all := field{}
	for i, f := range fields {
		if i > 0 {
			all.name += " . "
		}
		all.name += f.name
		all.size += (f.size + 3) &^ 3
		for _, n := range f.needs {
			if !slices.ContainsFunc(all.needs, func(m need) bool { return m.key == n.key }) {
				all.needs = append(all.needs, n)
			}
		}
	}
	all.load = func(e *encoder, register uint32) {
		for _, f := range fields {
			f.load(e, register)
			register += (f.size + 3) / 4
		}
	}
	return all
}
