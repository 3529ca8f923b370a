package lab

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/nft/nstest"
)

// resolver is a DNS server on UDP, TCP and TLS.
type resolver struct {
	servers
	answer func(name string, qtype uint16) (rcode int, answers []Record)
	log    record[Query]
	silent atomic.Bool
}

func serveResolver(ns *nstest.NS, at []netip.Addr, certificate tls.Certificate,
	answer func(string, uint16) (int, []Record)) (*resolver, error) {
	r := &resolver{answer: answer}
	for _, addr := range at {
		if err := r.serve(ns, addr, certificate); err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

func (r *resolver) serve(ns *nstest.NS, addr netip.Addr, certificate tls.Certificate) error {
	plain, encrypted := netip.AddrPortFrom(addr, 53), netip.AddrPortFrom(addr, 853)
	datagrams, err := ns.ListenUDP(plain)
	if err != nil {
		return err
	}
	r.receive(datagrams, func(b []byte, from netip.AddrPort) {
		if reply := r.reply("udp", from, plain, b); reply != nil {
			datagrams.WriteToUDPAddrPort(reply, from)
		}
	})
	tcp, err := ns.ListenTCP(plain)
	if err != nil {
		return err
	}
	r.accept(tcp, func(c net.Conn) { r.stream("tcp", c) })
	dot, err := ns.ListenTCP(encrypted)
	if err != nil {
		return err
	}
	r.accept(tls.NewListener(dot, &tls.Config{Certificates: []tls.Certificate{certificate}}),
		func(c net.Conn) { r.stream("tls", c) })
	return nil
}

func (r *resolver) stream(network string, c net.Conn) {
	for {
		b, err := readFramed(c)
		if err != nil {
			return
		}
		if reply := r.reply(network, addrPort(c.RemoteAddr()), addrPort(c.LocalAddr()), b); reply != nil {
			c.Write(framed(reply))
		}
	}
}

// reply logs a question and answers it; nil is silence.
func (r *resolver) reply(network string, from, server netip.AddrPort, b []byte) []byte {
	m, err := parse(b)
	if err != nil || m.response() {
		return nil
	}
	r.log.add(Query{
		Time: time.Now(), Network: network, From: from, Server: server,
		Name: m.name, Type: m.qtype, Raw: append([]byte(nil), b...),
	})
	if r.silent.Load() {
		return nil
	}
	rcode, answers := r.answer(m.name, m.qtype)
	m.flags = flagResponse | m.flags&flagRecursion | flagAvailable | uint16(rcode)
	m.answers = answers
	reply := m.pack()
	if network == "udp" && len(reply) > udpPayload {
		m.flags |= flagTruncated
		m.answers = nil
		reply = m.pack()
	}
	return reply
}
