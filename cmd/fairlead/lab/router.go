package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/nstest"
)

// serveRouter makes the router what it is without fairlead: IPv4 is
// masqueraded on the WAN, and port 53 answers what the ISP answers.
func (w *World) serveRouter(resolver bool) error {
	if err := masquerade(w.Router); err != nil {
		return fmt.Errorf("masquerading on %s: %w", WAN, err)
	}
	if !resolver {
		return nil
	}
	f := &forwarder{ns: w.Router, upstream: netip.AddrPortFrom(w.At.ISP.V4, 53)}
	w.later(f.close)
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if err := f.serve(netip.AddrPortFrom(any, 53)); err != nil {
			return fmt.Errorf("starting the router's resolver: %w", err)
		}
	}
	return nil
}

// masquerade writes a table of the shape and name of OpenWrt's firewall:
//
//	table inet fw4 {
//		chain srcnat {
//			type nat hook postrouting priority srcnat; policy accept;
//			oifname "wan0" meta nfproto ipv4 masquerade
//		}
//	}
func masquerade(ns *nstest.NS) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns.Fd()))
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "srcnat", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	device := make([]byte, unix.IFNAMSIZ)
	copy(device, WAN)
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: device},
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Masq{},
	}})
	return conn.Flush()
}

// forwarder stands in for dnsmasq: it listens on every address of the router
// and passes each question on to the ISP, over the network it came by.
type forwarder struct {
	servers
	ns       *nstest.NS
	upstream netip.AddrPort
}

// forwardTimeout is how long the ISP may take before a question is dropped.
const forwardTimeout = 2 * time.Second

func (f *forwarder) serve(at netip.AddrPort) error {
	datagrams, err := f.ns.ListenUDP(at)
	if err != nil {
		return err
	}
	if err := tellDestination(datagrams); err != nil {
		datagrams.Close()
		return err
	}
	f.run(datagrams, func() { f.datagrams(datagrams) })
	streams, err := f.ns.ListenTCP(at)
	if err != nil {
		return err
	}
	f.accept(streams, f.stream)
	return nil
}

// tellDestination makes a wildcard socket say which address each datagram was
// for, so that the answer can come from there (ip(7), ipv6(7)).
func tellDestination(c *net.UDPConn) error {
	if addrPort(c.LocalAddr()).Addr().Is4() {
		return setOption(c, unix.IPPROTO_IP, unix.IP_PKTINFO)
	}
	return setOption(c, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)
}

func (f *forwarder) datagrams(c *net.UDPConn) {
	buf, oob := make([]byte, 64<<10), make([]byte, 128)
	for {
		n, oobn, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return
		}
		question := append([]byte(nil), buf[:n]...)
		// Sent back, what told the destination gives the source.
		source := append([]byte(nil), oob[:oobn]...)
		up, err := f.dial("udp")
		if err != nil {
			continue
		}
		f.run(up, func() {
			up.Write(question)
			reply := make([]byte, 64<<10)
			if n, err := up.Read(reply); err == nil {
				c.WriteMsgUDPAddrPort(reply[:n], source, from)
			}
		})
	}
}

func (f *forwarder) stream(c net.Conn) {
	up, err := f.dial("tcp")
	if err != nil {
		return
	}
	f.run(up, func() { io.Copy(c, up) })
	io.Copy(up, c)
}

func (f *forwarder) dial(network string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), forwardTimeout)
	defer cancel()
	c, err := f.ns.Dial(ctx, network, netip.AddrPort{}, f.upstream)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(forwardTimeout))
}
