package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ForwardPort makes the router pass a TCP port of its WAN address on to a
// device, as OpenWrt's firewall does, for the LAN's own clients too (hairpin):
//
//	table inet fw4 {
//		chain dstnat {
//			type nat hook prerouting priority dstnat; policy accept;
//			ip daddr 203.0.113.2 tcp dport 8080 dnat ip to 192.168.77.11:80
//		}
//		chain hairpin {
//			type nat hook postrouting priority srcnat; policy accept;
//			ip saddr 192.168.77.0/24 ip daddr 192.168.77.11 masquerade
//		}
//	}
func (w *World) ForwardPort(port uint16, to netip.AddrPort) error {
	conn, err := nftables.New(nftables.WithNetNSFd(w.Router.Fd()))
	if err != nil {
		return fmt.Errorf("forwarding port %d: %w", port, err)
	}
	const source, target = 12, 16 // offsets in the IPv4 header (RFC 791, section 3.1)
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"})
	dstnat := conn.AddChain(&nftables.Chain{
		Name: "dstnat", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	rule := append(ipv4(target, w.At.RouterWAN.V4.AsSlice()),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2})
	conn.AddRule(&nftables.Rule{Table: table, Chain: dstnat, Exprs: rule})

	hairpin := conn.AddChain(&nftables.Chain{
		Name: "hairpin", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	lan := w.At.RouterLAN.V4.AsSlice()[:3]
	rule = append(ipv4(source, lan), ipv4(target, to.Addr().AsSlice())[2:]...)
	conn.AddRule(&nftables.Rule{Table: table, Chain: hairpin, Exprs: append(rule, &expr.Masq{})})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("forwarding port %d: %w", port, err)
	}
	return nil
}

// ipv4 compares the first bytes of an address in the IPv4 header.
func ipv4(offset uint32, address []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(address))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: address},
	}
}
