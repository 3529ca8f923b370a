package main

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/nft/nstest"
)

// authority is the server behind both resolvers. It answers as a validating
// resolver that knows everything.
type authority struct {
	zone   zone
	signer *signer
	asked  atomic.Int64
	udp    *dns.Server
	tcp    *dns.Server
}

func startAuthority(ns *nstest.NS, at netip.AddrPort) (*authority, error) {
	z, err := newZone()
	if err != nil {
		return nil, err
	}
	a := &authority{zone: z}
	if a.signer, err = newSigner(z); err != nil {
		return nil, err
	}
	datagrams, err := ns.ListenUDP(at)
	if err != nil {
		return nil, fmt.Errorf("starting the authority: %w", err)
	}
	streams, err := ns.ListenTCP(at)
	if err != nil {
		datagrams.Close()
		return nil, fmt.Errorf("starting the authority: %w", err)
	}
	a.udp = &dns.Server{PacketConn: datagrams, Handler: a, UDPSize: dns.MaxMsgSize}
	a.tcp = &dns.Server{Listener: streams, Handler: a}
	go a.udp.ActivateAndServe()
	go a.tcp.ActivateAndServe()
	return a, nil
}

// trustAnchor is the key of signedDomain, as a line of a zone file.
func (a *authority) trustAnchor() string { return a.signer.key.String() }

// ServeDNS answers one question.
func (a *authority) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	a.asked.Add(1)
	if len(q.Question) != 1 {
		return
	}
	size := dns.MaxMsgSize
	if w.LocalAddr().Network() == "udp" {
		size = dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(max(opt.UDPSize(), dns.MinMsgSize))
		}
	}
	m := a.answer(q)
	m.Compress = true
	m.Truncate(size)
	w.WriteMsg(m)
}

func (a *authority) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.CheckingDisabled = q.CheckingDisabled
	name, qtype := q.Question[0].Name, q.Question[0].Qtype
	opt := q.IsEdns0()
	do := opt != nil && opt.Do()
	if opt != nil {
		m.SetEdns0(1232, do)
	}
	if a.misbehave(m, strings.ToLower(name)) {
		return m
	}
	f := a.zone.find(name, qtype)
	bogus := strings.EqualFold(name, "bogus."+signedDomain)
	if bogus && qtype == dns.TypeA && !q.CheckingDisabled {
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	m.AuthenticatedData = (do || q.AuthenticatedData) && !bogus && a.secure(f, name)
	if do {
		a.signer.prove(&f, name, bogus)
	}
	m.Rcode, m.Answer, m.Ns = f.rcode, f.answer, f.authority
	return m
}

// secure tells whether all of an answer is of the signed zone.
func (a *authority) secure(f finding, name string) bool {
	if !dns.IsSubDomain(signedDomain, name) {
		return false
	}
	for _, rr := range append(f.answer, f.authority...) {
		if !dns.IsSubDomain(signedDomain, strings.ToLower(rr.Header().Name)) {
			return false
		}
	}
	return true
}

// misbehave answers for names that a server has trouble with, or lies about.
func (a *authority) misbehave(m *dns.Msg, name string) bool {
	label, rest, _ := strings.Cut(name, ".")
	if rest != domain {
		return false
	}
	record := func(text string) dns.RR {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err) // of our own text
		}
		return rr
	}
	switch label {
	case "servfail":
		m.Rcode = dns.RcodeServerFailure
	case "refused":
		m.Rcode = dns.RcodeRefused
	case "notimp":
		m.Rcode = dns.RcodeNotImplemented
	case "nosoa": // there is nothing, and nobody says for how long
	case "noopt":
		m.Extra = nil
		m.Answer = append(m.Answer, record(name+" 300 IN A 198.51.100.41"))
	case "extra": // more than was asked for
		m.Answer = append(m.Answer, record(name+" 300 IN A 198.51.100.42"), record("victim.interop.example. 300 IN A 198.51.100.66"))
		m.Ns = append(m.Ns, record("interop.example. 300 IN NS evil.interop.example."))
		m.Extra = append(m.Extra, record("evil.interop.example. 300 IN A 198.51.100.66"))
	case "twice": // the same record again
		m.Answer = append(m.Answer, record(name+" 300 IN A 198.51.100.43"), record(name+" 300 IN A 198.51.100.43"))
	case "disorder": // the alias behind what it stands for
		m.Answer = append(m.Answer, record("target.interop.example. 300 IN A 198.51.100.44"), record(name+" 300 IN CNAME target.interop.example."))
	default:
		return false
	}
	return true
}

// anchorForBIND is the key as delv reads it.
func (a *authority) anchorForBIND() string {
	k := a.signer.key
	return fmt.Sprintf("trust-anchors { %q static-key %d %d %d %q; };\n", k.Hdr.Name, k.Flags, k.Protocol, k.Algorithm, k.PublicKey)
}
